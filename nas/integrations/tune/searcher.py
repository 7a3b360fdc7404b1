"""Our strategies as Tune Searchers.

A Searcher is asked for configs and told of results; so are our strategies, by turns. What was asked and told is noted,
and that is all the state there is: saved as JSON, and replayed by a Searcher that is made alike, which then proposes
what the first one would have.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ray.tune.search import Searcher

from nas.errors import UserError
from nas.integrations.tune.configs import SEED, trial_seed
from nas.integrations.tune.evaluating import OURS
from nas.integrations.tune.spaces import as_space
from nas.objectives import Objective, objective
from nas.store.models import State
from nas.strategies import Chooser, Finder, Proposal, make_strategy
from search_spaces.decisions import identity
from search_spaces.limits import limited
from search_spaces.space import Space

FORMAT = "nas searcher 1"
DUPLICATES = 200
Told = tuple[list[float] | None, bool]


class SearcherError(UserError):
    """A Searcher that cannot be made or restored; one line that names the value and the remedy."""


class NasSearcher(Searcher):
    """Proposes what one of our strategies does, each architecture once, and tells it of the objectives.

    `objectives` are metrics in the results, of which Tune's own `metric` is best the first. Ours have a direction; for
    others `mode` says "min" or "max", of all of them or of each. Its configs are traces, with a seed under `nas.seed`.
    Raises UnknownName, SettingsError and SearcherError.
    """

    CKPT_FILE_TMPL = "nas-searcher-{}.json"

    def __init__(
        self,
        strategy: str = "tpe",
        space: Space | str = "kan_vision",
        objectives: Sequence[str] = ("accuracy", "params"),
        mode: str | Sequence[str] | None = None,
        *,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        only: Sequence[str] = (),
    ) -> None:
        figures = _figures(objectives, mode)
        modes = ["max" if each.maximize else "min" for each in figures]
        metrics: Any = list(objectives) if len(figures) > 1 else objectives[0]
        super().__init__(metrics, cast("Any", modes if len(figures) > 1 else modes[0]))
        self._made: dict[str, Any] = dict(strategy=strategy, space=space, objectives=tuple(objectives), mode=mode)
        self._made |= dict(seed=seed, options=dict(options or {}), only=tuple(only))
        self._figures = figures
        self._seed = seed
        self._space = limited(as_space(space), only)
        self._strategy = make_strategy(strategy, self._space, len(figures), seed, options)
        if isinstance(self._strategy, Chooser | Finder):
            raise SearcherError(
                f"strategy {strategy!r} has its proposals scored or trains supernets, which Tune does not: use "
                "another, such as tpe or nsga2"
            )
        self._most: int | None = None
        self._log: list[dict[str, Any]] = []
        self._turn = self._count = 0
        self._seen: dict[str, Told | None] = {}
        self._open: dict[str, Proposal] = {}
        self._trials: dict[int, str] = {}
        self._paused: set[str] = set()
        self._last: dict[str, list[float]] = {}
        self._parents: dict[str, list[str]] = {}

    def suggest(self, trial_id: str) -> Any:
        """Propose a config; None: later, FINISHED: there is nothing new to propose."""
        if self._most is not None and len(self._open) - len(self._paused) >= self._most:
            return None
        for _ in range(DUPLICATES):
            proposal = self._strategy.ask(self._turn)
            if proposal is None:
                return None if self._open else self.FINISHED
            self._note({"asked": proposal.turn, "architecture": proposal.architecture, "note": proposal.note})
            if not self._repeats(proposal):
                return self._begin(trial_id, proposal)
        return self.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep the objectives, for a trial that is stopped while it is paused."""
        if (losses := self._losses(result)) is not None:
            self._last[trial_id] = losses

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the strategy how a trial ended: with objectives, as infeasible, or by an error."""
        proposal = self._open.pop(trial_id, None)
        self._paused.discard(trial_id)
        if proposal is None:
            return
        state = (result or {}).get(f"{OURS}/state")
        feasible = state != State.INFEASIBLE
        losses = (self._losses(result) if result else None) or self._last.get(trial_id)
        if error or not feasible or state == State.FAILED:
            losses = None
        self._last.pop(trial_id, None)
        self._tell(proposal.turn, identity(proposal.architecture), (losses, feasible))
        self._note({"told": proposal.turn, "losses": _written(losses), "feasible": feasible})

    def parents(self, trial_id: str) -> list[str]:
        """Return the trials that a trial's architecture was made from."""
        return self._parents.get(trial_id, [])

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Take over from Tune how many trials run at a time: those that are paused do not count."""
        self._most = max_concurrent
        return True

    def on_pause(self, trial_id: str) -> None:
        """Take note that HyperBandForBOHB lets a trial wait."""
        self._paused.add(trial_id)

    def on_unpause(self, trial_id: str) -> None:
        """Take note that a trial that waited goes on."""
        self._paused.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Write what was asked and told, as JSON."""
        Path(checkpoint_path).write_text(json.dumps({"format": FORMAT, "log": self._log}))

    def restore(self, checkpoint_path: str) -> None:
        """Replay what another Searcher was asked and told; this one must be made alike, and unused.

        Raises SearcherError for a file that is none.
        """
        try:
            saved = json.loads(Path(checkpoint_path).read_text())
            known = saved["format"] == FORMAT
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SearcherError(f"{checkpoint_path} holds no state of a searcher ({error}): begin anew") from None
        if not known:
            raise SearcherError(f"{checkpoint_path} holds {saved['format']!r}, but {FORMAT!r} is read here")
        self._replay(saved["log"])

    def get_state(self) -> dict[str, Any]:
        """Return what was asked and told."""
        return {"log": list(self._log)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Replay a state."""
        self._replay(state["log"])

    def __getstate__(self) -> dict[str, Any]:
        return {"made": self._made, "log": self._log}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["made"])  # type: ignore[misc]
        self._replay(state["log"])

    def _repeats(self, proposal: Proposal) -> bool:
        """Answer the strategy at once where a proposal is known: as it was judged, or not at all while under way."""
        self._turn = proposal.turn + 1
        key = identity(proposal.architecture)
        if key not in self._seen:
            self._seen[key] = None
            return False
        losses, feasible = self._seen[key] or (None, True)
        self._strategy.tell(proposal.turn, losses, feasible=feasible)
        return True

    def _begin(self, trial_id: str, proposal: Proposal) -> dict[str, Any]:
        self._parents[trial_id] = [self._trials[turn] for turn in proposal.parents if turn in self._trials]
        self._open[trial_id] = proposal
        self._trials[proposal.turn] = trial_id
        self._log[-1]["trial"] = trial_id
        self._count += 1
        return self._space.trace(proposal.architecture) | {SEED: trial_seed(self._seed, self._count - 1)}

    def _tell(self, turn: int, key: str, told: Told) -> None:
        self._seen[key] = told
        self._strategy.tell(turn, told[0], feasible=told[1])

    def _losses(self, result: Mapping[str, Any]) -> list[float] | None:
        """Return the objectives, all to be minimised; None where one is not in a result."""
        if any(each.name not in result for each in self._figures):
            return None
        return [each.loss(float(result[each.name])) for each in self._figures]

    def _note(self, entry: dict[str, Any]) -> None:
        self._log.append(entry)

    def _replay(self, log: Sequence[dict[str, Any]]) -> None:
        if self._log:
            raise SearcherError("a searcher that was asked already cannot be restored: make a new one")
        for entry in log:
            self._note(dict(entry))
            if "asked" in entry:
                parents = tuple(entry["note"].get("parents", ()))
                proposal = Proposal(entry["asked"], entry["architecture"], entry["note"], parents)
                self._strategy.remember(proposal)
                if not self._repeats(proposal):
                    self._begin(entry["trial"], proposal)
            else:
                trial = self._trials[entry["told"]]
                key = identity(self._open.pop(trial).architecture)
                self._tell(entry["told"], key, (_read(entry["losses"]), entry["feasible"]))


def _figures(objectives: Sequence[str], mode: str | Sequence[str] | None) -> list[Objective]:
    """Return the objectives with their directions; raises SearcherError."""
    if isinstance(objectives, str) or not objectives:
        raise SearcherError(f"objectives are {objectives!r}, but a list of metrics is asked, as ('accuracy', 'params')")
    if mode is None:
        return [objective(name) for name in objectives]
    modes = [mode] * len(objectives) if isinstance(mode, str) else list(mode)
    if len(modes) != len(objectives) or not set(modes) <= {"min", "max"}:
        raise SearcherError(f"mode is {mode!r}, but min or max is asked, once or for each of {', '.join(objectives)}")
    return [Objective(name, way == "max", "", "", name) for name, way in zip(objectives, modes, strict=True)]


def _written(losses: list[float] | None) -> list[float | str] | None:
    """Write losses for strict JSON, which knows no infinity."""
    return None if losses is None else [loss if math.isfinite(loss) else str(loss) for loss in losses]


def _read(losses: list[float | str] | None) -> list[float] | None:
    return None if losses is None else [float(loss) for loss in losses]
