"""A scoring: a study whose architectures are scored by predictors, and none of whose networks is trained."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.checking import check_name
from nas.execution import Executor
from nas.job import ScoreJob
from nas.objectives import Constraint
from nas.scoring.architectures import drawn, read
from nas.scoring.bulk import Progress, Watch, score_all
from nas.scoring.settings import ScoringSettings, ask
from nas.store import State, Store, StoreError, Writer, queries
from nas.store.queries import Page, TrialRow
from nas.study import make_executor, readable_name
from search_spaces.decisions import Architecture, identity
from search_spaces.space import Space, find_space

if TYPE_CHECKING:
    import pandas

KIND = "score"
LONGER = "give a longer file to `nas score --architectures`"


class Scoring:
    """A scoring in a store: a row of kind "score" for each architecture, and the scores."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = name
        self._load()

    @classmethod
    def create(
        cls,
        store: Store,
        settings: ScoringSettings,
        name: str | None = None,
        architectures: Sequence[Architecture] = (),
        *,
        predictors_given: bool = True,
        memory_given: bool = False,
    ) -> Scoring:
        """Add a scoring, of the architectures given or of draws; one of the same name is opened, to go on with it.

        It gets the further predictors and architectures that are asked, and what its work may take where that is
        given. Raises StoreError for other settings.
        """
        known = {row.name for row in queries.studies(store)}
        name = readable_name(known) if name is None else name
        check_name(name)
        if name not in known:
            store.add_study(name, settings.to_json())
        scoring = cls(store, name)
        if differences := scoring.settings.differences(settings):
            raise StoreError(
                f"study {name!r} exists with other settings ({', '.join(differences)}): choose another --study"
            )
        count = settings.count if settings.source is None else 0
        scoring.extend(
            count, settings.predictors if predictors_given else (), settings.memory if memory_given else None
        )
        if architectures:
            with scoring._driving():
                scoring._add(architectures)
        return scoring

    @property
    def space(self) -> Space:
        return find_space(self.settings.space)

    @property
    def whole(self) -> bool:
        """Whether these are all architectures that the space, or the part of it, has."""
        return self.settings.source is None and self.settings.count >= self.settings.part.size()

    def extend(self, count: int, predictors: Sequence[str] = (), memory: int | None = None) -> None:
        """Ask for more architectures than before, further predictors or other memory; fewer change nothing.

        Raises StoreError while another process runs the scoring, and for more architectures than a file has.
        """
        if self.settings.source is not None and count > self.settings.count:
            raise StoreError(
                f"study {self.name!r} has the {self.settings.count} architectures of {self.settings.source}: for more "
                + ("give `nas predictors evaluate` a larger --count" if self._of_table else LONGER)
            )
        if self.settings.with_more(count, *predictors, memory=memory) != self.settings:
            with self._driving(), self.store.writing(self.row.id) as writer:
                self._set(writer, self.settings.with_more(count, *predictors, memory=memory))

    def run(self, executor: Executor, watch: Watch = lambda progress: None) -> Progress:
        """Score what has no scores yet; goes on where an earlier run ended, however it ended.

        Raises StoreError while another process runs the scoring, when its space has changed since, or when it was
        ended before it had the architectures of its file.
        """
        with closing(executor), self._driving():
            if not self.space.matches(self.row.settings["tree"]):
                raise StoreError(
                    f"space {self.settings.space!r} is not the one that study {self.name!r} began with: "
                    "start a new scoring"
                )
            if self.settings.source is None:
                self._add(drawn(self.settings.part, self.settings.seed), self.settings.count)
            architectures = [row.architecture for row in self.rows()]
            if len(architectures) < self.settings.count and self.settings.source is not None:
                command = "nas predictors evaluate" if self._of_table else "nas score --architectures"
                raise StoreError(
                    f"study {self.name!r} was ended before it had the architectures of {self.settings.source}: "
                    f"give the same `{command}` again, with --study {self.name}"
                )
            progress = score_all(self.store, self.row.id, executor, self._job(), architectures, watch)
        self._load()
        return progress

    def rows(self) -> list[TrialRow]:
        """Return the rows of the architectures in their order."""
        return queries.trials(self.store, self.row.id, Page(kind=KIND))

    @property
    def _of_table(self) -> bool:
        return (self.settings.source or "").startswith("table:")

    def _load(self) -> None:
        self.row = queries.study(self.store, self.name)
        if self.row.scoring is None:
            raise StoreError(f"study {self.name!r} is a search: choose another --study for a scoring")
        self.settings = ScoringSettings.from_json(self.row.settings)

    @contextmanager
    def _driving(self) -> Iterator[None]:
        """Hold the scoring as its only driver, with the settings as the driver before has left them."""
        with self.store.driving(self.name):
            self._load()
            yield

    def _job(self) -> ScoreJob:
        s = self.settings
        constraints = tuple(Constraint.parse(text) for text in s.constraints)
        return ScoreJob(s.predictors, (), s.seed, s.space, s.task, s.split_seed, constraints, s.samples, s.memory)

    def _add(self, architectures: Iterable[Architecture], most: float = math.inf) -> None:
        """Add those that are not there yet, up to so many in all, and note how many there are."""
        there = {row.identity for row in self.rows()}
        with self.store.writing(self.row.id) as writer:
            for architecture in architectures if len(there) < most else ():
                key = identity(architecture)
                if key not in there:
                    work = sha256(f"{key}|{KIND}".encode()).hexdigest()
                    row = writer.add_trial(len(there), architecture, key, work, self.settings.seed, kind=KIND)
                    writer.end(row, 0, State.COMPLETED)
                    there.add(key)
                if len(there) >= most:
                    break
            self._set(writer, replace(self.settings, count=len(there)))

    def _set(self, writer: Writer, settings: ScoringSettings) -> None:
        if settings != self.settings:
            writer.settings(self.row.settings | settings.to_json() | {"tree": self.row.settings["tree"]})
            self.settings = settings


def score(
    space: str = "kan_vision",
    predictors: str | Sequence[str] = (),
    count: int = 100,
    *,
    task: str | None = None,
    architectures: str | Path | None = None,
    store: str = "sqlite:///nas.db",
    study: str | None = None,
    workers: int | None = None,
    watch: Watch = lambda progress: None,
    **settings: Any,
) -> pandas.DataFrame:
    """Score architectures of a space without training, and return a row each: decisions and scores, the best first.

    Further settings are those of `ScoringSettings`: samples, memory, seed, split_seed, only, constraints.

    nas.score("kan_vision", ["gradsign"], count=200, workers=2)
    """
    from nas.scoring.ranking import to_frame

    names = (predictors,) if isinstance(predictors, str) else predictors
    made = prepare(space, names, count, task, architectures, store, study, **settings)
    made.run(make_executor(workers), watch)
    return to_frame(made)


def prepare(
    space: str,
    predictors: Sequence[str],
    count: int,
    task: str | None,
    architectures: str | Path | None,
    store: str,
    study: str | None,
    **settings: Any,
) -> Scoring:
    """Check what is asked of a scoring, and add it to a store or open it there."""
    if study is not None:
        check_name(study)
    asked = ask(space, count, task, tuple(predictors), **settings)
    found: list[Architecture] = []
    if architectures is not None:
        found = read(Path(architectures), asked.part)
        asked = replace(asked, count=len(found), source=str(architectures))
    opened = Store.open(store, create=True)
    given = {"predictors_given": bool(predictors), "memory_given": "memory" in settings}
    return Scoring.create(opened, asked, study, found, **given)
