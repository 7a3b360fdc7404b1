"""Screening as a study has it: what tables are refused, what is kept of the scores, and combinations of predictors."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fake_runs import WIDE, Crash, Fake, crashing_at, facts, register, reopen, start
from typer.testing import CliRunner

from nas import records, tables
from nas.checking import check
from nas.cli import app
from nas.job import Scored, ScoreJob
from nas.settings import Settings, SettingsError
from nas.simulation import simulate
from nas.store import State, queries
from nas.study import Study
from nas.tasks import find_lookup
from nas.tasks.table import SHIPPED
from predictors import Predictor
from search_spaces import registry
from search_spaces.decisions import canonical, identity
from search_spaces.registry import Entry
from search_spaces.space import find_space

BENCH = {"space": "digits_bench", "task": "table:digits_bench", "objectives": ("accuracy",), "epochs": 5}
Scores = Callable[[Any], dict[str, float | None]]


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A combination whose score is the sum of its two parts' places, and the space of the fake runs."""
    register(monkeypatch, WIDE)
    registry.entries("predictor")
    made = Predictor(
        "both", "", lambda *given: pytest.fail("nothing is built"), cost="nothing", parts=("left", "right"), pool=summed
    )
    monkeypatch.setitem(registry._entries["predictor"], "both", Entry("predictor", "both", made, ""))


def summed(rows: Sequence[Sequence[float]]) -> list[float]:
    return [float(sum(other[k] < row[k] for other in rows for k in range(2))) for row in rows]


def measured(architecture: Any) -> dict[str, float | None]:
    rng = Random(canonical(architecture))
    return {"gradsign": rng.random(), "both.left": rng.random(), "both.right": rng.choice([None, 1.0, 2.0, 3.0])}


@dataclass
class Scoring(Fake):
    """Scores by column."""

    measure: Scores = measured
    asked: list[ScoreJob] = field(default_factory=list)

    def submit(self, worker: str, job: Any) -> None:
        super().submit(worker, job)
        if isinstance(job, ScoreJob):
            self.asked.append(job)

    def _score(self, architecture: Any, predictor: str) -> Scored:
        values = {name: value for name, value in self.measure(architecture).items() if name.startswith(predictor)}
        without = None in values.values()
        return Scored(predictor, dict.fromkeys(values) if without else values, "no" if without else None, 0.5)


def run(study: Study, fake: Fake) -> str:
    return study.run(fake, content="data").last


def table(folder: Path, **columns: Callable[[dict[str, str]], object]) -> str:
    """Write the shipped table with further columns."""
    head, *lines = gzip.decompress((SHIPPED / "digits_bench.csv.gz").read_bytes()).decode().splitlines()
    rows = [dict(zip(head.split(","), line.split(","), strict=True)) for line in lines]
    text = [
        ",".join([line, *(str(make(row)) for make in columns.values())]) for line, row in zip(lines, rows, strict=True)
    ]
    (folder / "more.csv").write_text("\n".join([",".join([head, *columns]), *text]))
    return f"table:{folder / 'more.csv'}"


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"screen": "gradsign:4"}, "predictor gradsign needs a column gradsign, which table:digits_bench has not"),
        ({"screen": "learned:flops+gradsign:4"}, "predictor gradsign needs a column gradsign"),
        ({"screen": "both+surrogate:4"}, "predictor both needs the columns both.left, both.right, which"),
        (
            {"strategy": "predictor_guided", "strategy_options": {"predictors": "flops+both"}},
            "predictor both needs the columns both.left",
        ),
    ],
)
def test_a_predictor_that_a_table_does_not_know_is_refused_with_those_it_knows(
    asked: dict[str, Any], named: str
) -> None:
    with pytest.raises(SettingsError, match=f"{named}.*use one of flops, memory, params, surrogate$"):
        check(Settings(**BENCH | asked))


@pytest.mark.parametrize("screen", ["flops+params:4", "surrogate:4", "memory+surrogate:4"])
def test_a_predictor_that_a_table_knows_is_not_refused(screen: str) -> None:
    check(Settings(**BENCH | {"screen": screen}))


def test_a_refused_screening_makes_no_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["search", "--space", "digits_bench", "--task", "table:digits_bench", "--screen", "gradsign:4"]
    result = CliRunner().invoke(app, asked)
    assert isinstance(result.exception, SettingsError) and not list(tmp_path.iterdir())


def test_a_table_with_the_parts_of_a_combination_is_screened_by_them(tmp_path: Path) -> None:
    """One part is right and the other says nothing: of eight proposals the best is trained."""
    task = table(tmp_path, **{"both.left": lambda row: row["params"], "both.right": lambda row: 1})
    trials = simulate(Settings(**BENCH | {"task": task, "screen": "both:8", "strategy": "random", "trials": 20}))
    alone = simulate(Settings(**BENCH | {"strategy": "random", "trials": 20}))
    lookup, space = find_lookup(task), find_space("digits_bench")
    assert lookup is not None

    def params(found: Any) -> float:
        return sum(lookup.untrained(space, each.architecture)["params"] for each in found)

    assert params(trials) > 1.5 * params(alone)


def test_every_part_of_a_combination_is_kept(tmp_path: Path) -> None:
    study, fake = start(tmp_path, trials=5, screen="gradsign+both:4"), Scoring()
    run(study, fake)
    kept = {(identity, column): value for identity, column, value in facts(study)["scores"]}
    expected = {}
    for job in fake.asked:
        for each in job.architectures:
            values = measured(each)
            if values["both.right"] is None:
                values["both.left"] = None
            expected |= {(identity(each), column): value for column, value in values.items()}
    assert kept == expected and len(kept) == 3 * 4 * 5


def test_the_proposal_of_the_best_mean_rank_is_trained(tmp_path: Path) -> None:
    """The mean rank of a score and of a combination, computed anew with sums over pairs."""
    study, fake = start(tmp_path, trials=8, screen="gradsign+both:5"), Scoring()
    run(study, fake)
    for job, row in zip(fake.asked, study, strict=True):
        values = [measured(each) for each in job.architectures]
        whole = [each for each in values if each["both.right"] is not None]
        pool = iter(summed([(each["both.left"], each["both.right"]) for each in whole]))  # type: ignore[misc]
        pooled = [-1.0 if each["both.right"] is None else next(pool) for each in values]
        single = [each["gradsign"] or 0.0 for each in values]
        mean = [
            sum(
                (other < score) + (other == score) / 2
                for column, score in ((pooled, a), (single, b))
                for other in column
            )
            for a, b in zip(pooled, single, strict=True)
        ]
        assert row.architecture == job.architectures[mean.index(max(mean))]


GUIDED = {"predictors": "both+surrogate", "model": "process", "candidates": 3}


@pytest.mark.parametrize(
    ("asked", "step"),
    [
        ({"screen": "learned:gradsign+both:4"}, 16),
        ({"strategy": "predictor_guided", "strategy_options": GUIDED}, 33),
    ],
)
def test_a_killed_study_goes_on_to_the_same_end(tmp_path: Path, asked: dict[str, Any], step: int) -> None:
    asked = {"trials": 14, "epochs": 1, "strategy": "random", "seed": 3} | asked
    calls: list[str] = []
    whole = start(tmp_path, **asked)
    run(whole, Scoring(spy=lambda call, what: calls.append(call)))
    expected = facts(whole)
    for moment in range(9, len(calls), step):
        folder = tmp_path / str(moment)
        folder.mkdir()
        study = start(folder, **asked)
        for crash in (moment, 6):
            with suppress(Crash):
                run(study, Scoring(spy=crashing_at(crash)))
            study = reopen(study)
        run(study, Scoring())
        assert facts(study) == expected, moment


def test_a_screening_in_which_nothing_has_a_score_says_so(tmp_path: Path) -> None:
    fake = Scoring(measure=lambda a: measured(a) | {"both.right": None})
    study = start(tmp_path, trials=3, screen="gradsign+both:4")
    assert run(study, fake) == "both gave no score to 4 of 4 proposals: no"
    assert [row.state for row in study] == [State.COMPLETED] * 3


class Short(Scoring):
    """Memory runs out for one predictor."""

    def _score(self, architecture: Any, predictor: str) -> Scored:
        scored = super()._score(architecture, predictor)
        return replace(scored, values={"gradsign": None}, passing=True) if predictor == "gradsign" else scored


def test_a_passing_failure_in_a_screening_is_not_kept(tmp_path: Path) -> None:
    study = start(tmp_path, trials=3, screen="gradsign+both:4")
    run(study, Short())
    assert {column for _, column, _ in facts(study)["scores"]} == {"both.left", "both.right"}
    assert [row.state for row in study] == [State.COMPLETED] * 3


def test_a_trial_shows_what_a_screening_said_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake = Scoring(measure=lambda a: {"gradsign": 1234567.0, "both.left": 0.125, "both.right": None})
    study = start(tmp_path, trials=1, screen="gradsign+both:2")
    run(study, fake)
    row = study.trial(0)
    record = json.loads(json.dumps(records.plain(records.trial_record(study, row))))
    assert record["measured"] == {"both.left": None, "both.right": None, "gradsign": 1234567.0}
    assert record["unmeasured"] == {"both.left": "no", "both.right": "no"}
    tables.print_trial(study, row)
    printed = capsys.readouterr().out
    assert "before training, gradsign 1.23457e+06\n" in printed and "both.left no score: no\n" in printed


def test_a_trial_without_a_screening_shows_no_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = start(tmp_path, trials=1)
    run(study, Fake())
    record = records.trial_record(study, study.trial(0))
    assert record["measured"] == record["unmeasured"] == {}
    tables.print_trial(study, study.trial(0))
    assert "before training" not in capsys.readouterr().out


def test_scores_of_another_study_are_not_shown(tmp_path: Path) -> None:
    study = start(tmp_path, trials=1, screen="gradsign:2")
    run(study, Scoring())
    row = study.trial(0)
    assert [each.column for each in queries.scored(study.store, study.row.id, identity=row.identity)] == ["gradsign"]
    assert queries.scored(study.store, study.row.id + 1, identity=row.identity) == []
    assert queries.scored(study.store, study.row.id, identity="another") == []
    assert math.isfinite(queries.scored(study.store, study.row.id, identity=row.identity)[0].value or math.nan)
