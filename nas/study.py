"""A study: a search with its settings, its trials and what can be done with them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from nas import pareto
from nas.checking import check as check
from nas.checking import check_executor, usual_epochs
from nas.checkpoints import KIND as CHECKPOINT
from nas.checkpoints import Checkpoints
from nas.execution import Executor
from nas.execution.resources import Resources
from nas.execution.simulated import BEGAN, CLOCK, Seconds, VirtualWorkers
from nas.loop import STORE_TIMEOUT, Loop
from nas.objectives import Objective, objective
from nas.plans import Bench
from nas.plans.confirm import Confirm
from nas.plans.search import Search
from nas.progress import Progress, Watch
from nas.schedules import Verdict
from nas.settings import Settings, SettingsError
from nas.storage import StudyFiles, below
from nas.store import State, Store, StoreError, queries
from nas.store.queries import Page, Spread, TrialRow
from nas.tasks import TaskError, find_content, find_lookup, looked_up
from nas.tuned import Step, Tuned, lineage, steps
from search_spaces.space import Space, find_space

if TYPE_CHECKING:
    import pandas

    from nas.store.driving import Seat


RECENT = 100


class Study:
    """A search in a store. Iterating over it gives its trials."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.row = queries.study(store, name)
        if self.row.scoring is not None:
            raise StoreError(
                f"study {name!r} is a scoring, whose networks are not trained: see it with `nas show {name}`, "
                "and search or compare under the name of another study"
            )
        self.name = name
        self.settings = Settings.from_json(self.row.settings)

    @classmethod
    def create(cls, store: Store, settings: Settings, name: str | None = None) -> Study:
        """Check settings and add a study; one of the same name and settings is opened, to go on with it.

        Raises UnknownName, ConstraintError, SettingsError or StoreError, and then has changed nothing.
        """
        check(settings, name)
        known = {row.name: row for row in queries.studies(store)}
        if name is None:
            name = readable_name(known)
        if name in known:
            study = cls(store, name)
            if differences := study.settings.differences(settings):
                raise StoreError(
                    f"study {name!r} exists with other settings ({', '.join(differences)}): choose another --study"
                )
            study.extend(settings.trials)
            return study
        store.add_study(name, settings.to_json() | {"tree": find_space(settings.space).describe()["tree"]})
        return cls(store, name)

    @property
    def space(self) -> Space:
        return find_space(self.settings.space)

    @property
    def objectives(self) -> list[Objective]:
        return [objective(name) for name in self.settings.objectives]

    def extend(self, trials: int) -> None:
        """Ask for more trials than before; a smaller number changes nothing.

        Drivers that share the study hear of it. Raises StoreError while another process runs one that is not shared.
        """
        if trials > self.settings.trials:
            with self.store.driving(self.name) as seat, seat.writing(self.row.id) as writer:
                writer.settings(self.row.settings | {"trials": trials})
                if self.store.shared:
                    writer.event("extended", {"trials": trials})
            self.settings = replace(self.settings, trials=trials)

    def run(
        self,
        executor: Executor,
        watch: Watch = lambda progress: None,
        *,
        content: str | None = None,
        store_timeout: float = STORE_TIMEOUT,
    ) -> Progress:
        """Search until the study has its trials; goes on where an earlier run ended, however it ended.

        `content` stands for the task's data in the trials' keys; it is read from the task unless given.
        Raises StoreError while another process runs the study, or when its space has changed since.
        """
        with closing(executor), self.store.driving(self.name) as seat:
            if not self.space.matches(self.row.settings.get("tree")):
                raise StoreError(
                    f"space {self.settings.space!r} is not the one that study {self.name!r} began with: "
                    "start a new study"
                )
            if isinstance(executor, VirtualWorkers):
                self._set_clock(executor)
            bench = self._bench(content)
            progress = Progress(self.settings.trials, self.objectives)

            def replan() -> tuple[Search, Checkpoints]:
                plan = self._plan(seat, bench, progress)
                return plan, self._checkpoints(plan)

            plan, checkpoints = replan()
            progress.already = progress.done
            Loop(
                seat,
                self.row.id,
                bench,
                plan,
                executor,
                progress,
                watch,
                checkpoints=checkpoints,
                replan=replan,
                store_timeout=store_timeout,
            ).run()
            if progress.done < progress.total:
                progress.last = plan.exhausted or f"strategy {self.settings.strategy} has nothing more to propose"
        self.row = queries.study(self.store, self.name)
        return progress

    def confirm(
        self, executor: Executor, top: int = 3, repeats: int = 3, watch: Watch = lambda progress: None
    ) -> list[TrialRow]:
        """Train the leaders anew, each `repeats` times with fresh seeds, and return them.

        Raises TaskError for a study whose results were looked up.
        """
        self.require_training("confirm")
        with closing(executor), self.store.driving(self.name, "confirm") as seat:
            leaders = self.leaders(top)
            if not leaders:
                raise StoreError(
                    f"study {self.name!r} has no completed trial to confirm: `nas resume {self.name}` first"
                )
            bench = self._bench(None)
            plan = Confirm(self.store, self.row.id, bench, leaders, repeats)
            progress = Progress(plan.total, self.objectives)
            kept = Checkpoints(self.files, 0, self.objectives)
            Loop(seat, self.row.id, bench, plan, executor, progress, watch, checkpoints=kept).run()
        return leaders

    def trials(self, page: Page | None = None) -> list[TrialRow]:
        """Read trials, by default all of the search in their order."""
        return queries.trials(self.store, self.row.id, page)

    def trial(self, number: int) -> TrialRow:
        """Read one trial; raises StoreError when there is none of this number."""
        return queries.trial(self.store, self.row, number)

    def __iter__(self) -> Iterator[TrialRow]:
        return iter(self.trials())

    def front(self) -> list[TrialRow]:
        """Return the completed trials that no other beats, best first by the first objective.

        With one objective these are the best trial and its equals.
        """
        points = queries.values(self.store, self.row.id, *self.settings.objectives)
        objectives = self.objectives
        losses = [[each.loss(v) for each, v in zip(objectives, values, strict=True)] for _, values in points]
        members = sorted(pareto.front(losses), key=lambda i: losses[i])
        return [self.trial(points[i][0]) for i in members]

    def leaders(self, top: int) -> list[TrialRow]:
        """Return the best `top` trials: of the front with several objectives, of all with one."""
        if len(self.objectives) > 1:
            return self.front()[:top]
        first = self.objectives[0]
        page = Page(states=(State.COMPLETED,), sort=first.name, descending=first.maximize, limit=top)
        return self.trials(page)

    def confirmed(self) -> dict[int, dict[str, Spread]]:
        """Return the spread of the objectives over fresh trainings, by trial number."""
        return queries.confirmed(self.store, self.row.id)

    def to_frame(self) -> pandas.DataFrame:
        """Return the trials as a data frame: number, state, seconds, objectives and decisions, a row each."""
        import pandas

        def record(row: TrialRow) -> dict[str, Any]:
            seconds = None if row.ended is None else row.ended - row.created
            head = {"number": row.number, "state": str(row.state), "seconds": seconds}
            return head | row.values | self.space.trace(row.architecture)

        return pandas.DataFrame([record(row) for row in self.trials()])

    def export(self, number: int, output: str | Path) -> Path:
        """Write a trial's network to a new folder: weights, architecture and card.

        Raises ExportError, StoreError, and TaskError for a study whose results were looked up.
        """
        from nas.export import export

        self.require_training("export")
        trial = self.trial(number)
        weights = queries.artifacts(self.store, trial.id).get("weights")
        if weights is None:
            raise StoreError(
                f"trial {number} of {self.name!r} is {trial.state} and left no weights: choose a COMPLETED one"
            )
        parent = trial.parent if trial.kind == "confirm" and trial.parent is not None else number
        spreads = self.confirmed().get(parent, {})
        trained = {each.name for each in self.objectives if not each.cheap}
        facts = {
            "study": self.name,
            "trial": number,
            "values": trial.values,
            "confirmed": {name: vars(spread) for name, spread in spreads.items() if name in trained},
            "seed": trial.seed,
            "epochs": self.settings.epochs,
        }
        folder = Path(output)
        export(
            architecture=trial.architecture,
            space_name=self.settings.space,
            task_name=self.settings.task,
            split_seed=self.settings.split_seed,
            weights=self.files.fetch(weights),
            output=folder,
            facts=facts,
        )
        return folder

    def schedule(self, number: int) -> tuple[Tuned, list[Step]]:
        """Return how a trial was trained, and what changed when; of one that was never forked a single segment.

        Raises StoreError, and TunedError where its training is not among the decisions.
        """
        chain = lineage(self.trial(number), self.trial)
        return Tuned.of(self.settings.space, self.settings.epochs, chain), steps(self.space, chain)

    def export_schedule(self, number: int, output: str | Path) -> None:
        """Write how a trial was trained as JSON; raises StoreError and TunedError."""
        tuned, _ = self.schedule(number)
        Path(output).write_text(json.dumps(tuned.to_json(), indent=2) + "\n", encoding="utf-8")

    def require_training(self, command: str) -> None:
        """Raise TaskError, naming the command that asks, where the study's results were looked up."""
        if looked_up(self.settings.task):
            raise TaskError(
                f"`nas {command}` needs trained networks, but the trials of {self.name!r} were looked up in "
                f"{self.settings.task} and left no weights: search with a task that trains, such as digits"
            )

    def _set_clock(self, executor: VirtualWorkers) -> None:
        """Let a simulation go on at the time where it ended, or note how it begins."""
        content = executor.content
        known = self.row.settings.get("simulation", {})
        if known.get("content", content) != content:
            raise StoreError(f"{self.settings.task} has changed since study {self.name!r} began: start a new study")
        if not known:
            begun = {"workers": len(executor.workers), "seconds": executor.seconds, "content": content}
            with self.store.writing(self.row.id) as writer:
                writer.settings(self.row.settings | {"simulation": begun})
        executor.restore(queries.latest(self.store, self.row.id, CLOCK) or 0.0, *self._under_way())

    def _under_way(self) -> tuple[dict[int, float], dict[int, dict[int, float]]]:
        """Return when the latest attempts of trials that were under way began, and the clocks of what they reported.

        One that has said nothing since its trial was paused begins now.
        """
        under_way = [row for row, *_ in queries.unfinished(self.store, self.row.id, "search") if row.step is not None]
        paused = {
            (trial, payload["step"])
            for kind, trial, payload in (queries.history(self.store, self.row.id) if under_way else ())
            if kind == "verdict" and payload["verdict"] == Verdict.PAUSE
        }
        starts, clocks = {}, {}
        for row in under_way:
            told = queries.curves(self.store, row.id)
            clocks[row.number] = dict(told[CLOCK])
            began = told.get(BEGAN, told[CLOCK])[0][1]
            if (row.id, row.step) not in paused or began > clocks[row.number][row.step or 0]:
                starts[row.number] = began
        return starts, clocks

    def _bench(self, content: str | None) -> Bench:
        if content is None:
            content = find_content(self.settings.task, self.settings.split_seed)
        return Bench(self.settings, content, self.store.folder(self.name))

    @property
    def files(self) -> StudyFiles:
        """The study's files, wherever they lie."""
        folder, storage = self.store.folder(self.name), self.settings.storage
        return StudyFiles(folder, None if storage is None else below(storage, self.name))

    def _plan(self, seat: Seat, bench: Bench, progress: Progress) -> Search:
        """Make the plan as the store has it, with the progress; nobody else writes to the study meanwhile."""
        progress.reset()
        plan = Search(bench, self.space)
        seat.forget()
        with seat.writing(self.row.id), queries.uncollected():
            plan.replay(self.store, self.row.id, seat.driver, progress.note)
        progress.total = plan.total
        return plan

    def _checkpoints(self, plan: Search) -> Checkpoints:
        made = Checkpoints(self.files, self.settings.keep_checkpoints, self.objectives)
        folders = {f"{number:05d}" for number in plan.retaining}
        made.restore(queries.artifacts_of(self.store, self.row.id, CHECKPOINT), folders)
        ended = tuple(state for state in State if state.ended)
        made.sweep(self.trials(Page(states=ended, sort="ended", descending=True, limit=RECENT)))
        return made


def executor_of(
    study: Study,
    kind: str = "auto",
    workers: int | None = None,
    seconds: Seconds | None = None,
    address: str | None = None,
) -> Executor:
    """Return the executor for a study: of virtual workers, as it began with, where results are looked up."""
    check_executor(study.settings.task, kind, workers, seconds, address)
    lookup = find_lookup(study.settings.task)
    if lookup is not None:
        begun = study.row.settings.get("simulation", {})
        known = begun.get("seconds")
        usual = tuple(known) if isinstance(known, list) else known
        return VirtualWorkers(
            lookup, study.space, workers or begun.get("workers", 1), usual if seconds is None else seconds
        )
    resources = Resources(study.settings.cpus_per_trial, study.settings.gpus_per_trial)
    if kind == "ray" or address is not None:
        return _ray(workers, resources, address, most=study.settings.trials)
    return make_executor(1 if kind == "inline" else workers, resources)


def make_executor(workers: int | None = None, resources: Resources | None = None) -> Executor:
    """Return the executor for so many workers that train: this process for one, Ray for more.

    None: one worker a GPU where there are GPUs, else one a core.
    """
    resources = resources or Resources()
    count = workers if workers is not None else resources.usual_workers()
    if count < 1:
        raise SettingsError(f"--workers {count} is not allowed: it must be at least 1")
    if count > 1:
        return _ray(count, resources)
    from nas.execution.inline import Inline

    return Inline(resources=resources)


def _ray(workers: int | None, resources: Resources, address: str | None = None, most: int | None = None) -> Executor:
    from nas.execution.ray import RayWorkers

    return RayWorkers(workers, resources, address=address, most=most)


def search(
    space: str = "kan_vision",
    task: str = "digits",
    *,
    store: str = "sqlite:///nas.db",
    study: str | None = None,
    workers: int | None = None,
    executor: str = "auto",
    seconds: Seconds | None = None,
    address: str | None = None,
    watch: Watch = lambda progress: None,
    **settings: Any,
) -> Study:
    """Search a space for a task and return the study; further settings are those of `nas.Settings`.

    `executor` is auto, inline, ray or simulated; `seconds` is what a simulated training takes, see `VirtualWorkers`;
    `address` is that of a Ray cluster.

    study = nas.search("kan_vision", "digits", trials=20, epochs=4, workers=2)
    """
    asked = Settings(space=space, task=task, **{"epochs": usual_epochs(task, space)} | settings)
    check(asked, study)
    check_executor(task, executor, workers, seconds, address)
    made = Study.create(Store.open(store, create=True), asked, study)
    made.run(executor_of(made, executor, workers, seconds, address), watch)
    return made


def open_study(name: str, store: str = "sqlite:///nas.db") -> Study:
    """Open a study that is there; raises StoreError."""
    return Study(Store.open(store), name)


def readable_name(taken: Collection[str]) -> str:
    """Make up a name that is not taken."""
    random = SystemRandom()
    while (name := f"{random.choice(_ADJECTIVES)}-{random.choice(_NOUNS)}") in taken:
        name = f"{name}-{random.randrange(100)}"
        if name not in taken:
            break
    return name


_ADJECTIVES = "amber brisk calm clear deft early fleet gentle keen light mellow quick quiet ready silver steady".split()
_NOUNS = "alder birch brook cedar crane finch grove harbor heron lark maple meadow otter reef spruce wren".split()
