"""Predictors judged on tables and on studies: what is compared with what, and the command that prints it."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from fake_runs import TWELVE, evaluate, register, start
from scipy.stats import kendalltau, spearmanr
from tiny_space import TINY
from typer.testing import CliRunner

from nas.cli import app
from nas.execution.inline import Inline
from nas.job import Evaluation, Job, Outcome, ScoreJob
from nas.scoring import evaluate_command, evaluation
from nas.scoring.evaluation import score_study, score_table, study_job
from nas.scoring.evaluation_report import print_evaluation, record
from nas.scoring.judge import judge
from nas.scoring.settings import ask
from nas.scoring.study import Scoring
from nas.scoring.trained import Trained, from_study, from_table
from nas.settings import SettingsError
from nas.store import Store, StoreError, queries
from nas.store.queries import ScoreRow
from nas.study import Study
from nas.tasks.table import Table, TableError
from predictors import Predictor
from predictors.evaluate import ALL, BEST, SOUND
from search_spaces import registry
from search_spaces.decisions import identity
from search_spaces.registry import Entry
from search_spaces.spaces import nasbench201

BASELINES = ("params", "flops")


def cells(count: int) -> list[Any]:
    """Different cells at random, the first of them degenerate."""
    rng, found = Random(1), [nasbench201.read("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")]
    while len(found) < count:
        found.append(nasbench201.SPACE.draw(rng))
    return found


CELLS = cells(12)


def write(path: Path, columns: dict[str, Any]) -> str:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", *columns])
        for i, cell in enumerate(CELLS):
            writer.writerow([nasbench201.write(cell), *(values[i] for values in columns.values())])
    return str(path)


@pytest.fixture
def table(tmp_path: Path) -> str:
    return write(
        tmp_path / "t.csv", {"val_accuracy": [50 + i for i in range(12)], "test_accuracy": TESTS, "cost": TESTS}
    )


TESTS = [10.0, 71, 73, 72, 74, 90, 81, 83, 79, 88, 60, 85]


@pytest.fixture
def studied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study of twelve architectures whose networks can be built, with accuracies that nothing was trained for."""
    register(monkeypatch, TINY)
    study = start(tmp_path, space="tiny", trials=12, seed=5, split_seed=2)
    study.run(Inline(evaluate), content="")
    return Study(study.store, study.name)


# What is compared


def test_the_column_is_the_first_of_the_test_split(table: str) -> None:
    trained = from_table("nasbench201", table)
    assert trained.what == "test_accuracy" and list(trained.results) == TESTS and trained.maximize
    assert [nasbench201.write(each) for each in trained.architectures] == [nasbench201.write(each) for each in CELLS]
    assert "test split" in trained.about and "all 12" in trained.about and table in trained.about


def test_without_a_test_split_it_is_the_validation_accuracy(tmp_path: Path) -> None:
    path = write(tmp_path / "v.csv", {"cost": TESTS, "val_accuracy": TESTS})
    assert from_table("nasbench201", path).what == "val_accuracy"
    with pytest.raises(SettingsError, match="no column that begins with test, and no val_accuracy: name one with --c"):
        from_table("nasbench201", write(tmp_path / "c.csv", {"cost": TESTS}))


def test_another_column_can_be_named(table: str) -> None:
    assert list(from_table("nasbench201", table, column="val_accuracy").results) == [50 + i for i in range(12)]
    with pytest.raises(TableError, match="has no column 'speed': it has val_accuracy, test_accuracy, cost"):
        from_table("nasbench201", table, column="speed")


def test_repeated_trainings_are_averaged(tmp_path: Path) -> None:
    """As NAS-Bench-Macro has them: an object by the networks' digits, with a list of accuracies each."""
    rows = {f"0000000{i}": {"test_acc": [90.0 + i, 92.0, 94.0], "params": 1} for i in range(3)}
    path = tmp_path / "macro.json"
    path.write_text(json.dumps(rows))
    trained = from_table("nasbench_macro", str(path))
    assert trained.what == "test_acc" and trained.results == pytest.approx([92, 92 + 1 / 3, 92 + 2 / 3])
    assert trained.architectures[2]["network"]["layers"] == ["identity"] * 7 + ["mb6"]


def test_the_last_epoch_counts_and_seeds_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    text = nasbench201.write(CELLS[3])
    rows = [(1, 0, 50), (2, 0, 70), (2, 1, 80), (1, 1, 99), (3, 2, 60)]
    path.write_text("arch,epoch,seed,test_accuracy\n" + "".join(f"{text},{e},{s},{value}\n" for e, s, value in rows))
    assert Table(str(path)).results(nasbench201.SPACE, "test_accuracy") == [(CELLS[3], (70 + 80 + 60) / 3)]


def test_what_has_no_result_is_left_out(tmp_path: Path) -> None:
    results: list[Any] = [*TESTS]
    results[4], results[7] = "", "nan"
    trained = from_table("nasbench201", write(tmp_path / "n.csv", {"test_accuracy": results}))
    assert list(trained.results) == [value for i, value in enumerate(TESTS) if i not in (4, 7)]
    assert CELLS[4] not in trained.architectures and len(trained.architectures) == 10


def test_results_that_are_not_finite_are_left_out_and_counted(
    tmp_path: Path, studied: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "i.csv", {"cost": [*TESTS[:10], math.inf, -math.inf]})
    trained = from_table("nasbench201", path, column="cost")
    assert list(trained.results) == TESTS[:10]
    assert "all 10 architectures of" in trained.about and "(2 left out, whose result is not finite)" in trained.about
    trials = studied.trials()
    trials[1] = replace(trials[1], values={"accuracy": math.inf})
    monkeypatch.setattr(studied, "trials", lambda page: trials)
    trained = from_study(studied)
    assert len(trained.results) == 11 and "study one (1 left out, whose result is not finite)" in trained.about
    assert "left out" not in from_table("nasbench201", write(tmp_path / "f.csv", {"test_accuracy": TESTS})).about


def test_draws_follow_the_seed_and_grow(table: str) -> None:
    five, eight, other = (from_table("nasbench201", table, n, seed=s) for n, s in ((5, 1), (8, 1), (8, 2)))
    assert five.architectures == eight.architectures[:5] and five.results == eight.results[:5]
    assert eight.architectures != other.architectures and len(from_table("nasbench201", table, 12).results) == 12
    assert all(
        TESTS[CELLS.index(each)] == value for each, value in zip(eight.architectures, eight.results, strict=True)
    )
    assert len({identity(each) for each in eight.architectures}) == 8
    with pytest.raises(SettingsError, match=r"--count 13 is more than table:.* has: give at most 12, or all"):
        from_table("nasbench201", table, 13)


def test_degenerate_ones_are_known_where_the_space_knows_them(table: str, studied: Study) -> None:
    flags = from_table("nasbench201", table).degenerate
    assert flags is not None and flags[0] and flags == [nasbench201.degenerate(each) for each in CELLS]
    assert from_study(studied).degenerate is None


def test_of_a_study_the_completed_trials_count(studied: Study) -> None:
    trained = from_study(studied)
    trials = studied.trials()
    assert (
        trained.what == "accuracy"
        and trained.maximize
        and trained.architectures == tuple(t.architecture for t in trials)
    )
    assert list(trained.results) == [trial.values["accuracy"] for trial in trials]
    for words in ("study one", "12 completed", "validation split of digits", "split seed 2", "3 epochs", "seed 5"):
        assert words in trained.about


def test_trials_that_broke_a_constraint_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, TWELVE)
    study = start(tmp_path, space="twelve", trials=12, constraints=("params<=600",))
    study.run(Inline(evaluate), content="")
    there = [trial for trial in study.trials() if trial.values]
    assert 3 <= len(there) < 12 and len(from_study(study).architectures) == len(there)


def test_of_a_loss_less_is_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def losing(job: Job) -> Evaluation:
        outcome = yield from evaluate(job)
        return Outcome({"params": outcome.values["params"], "loss": outcome.values["params"] / 100})

    register(monkeypatch, TWELVE)
    study = start(tmp_path, space="twelve", trials=5, objectives=("params", "loss"))
    study.run(Inline(losing), content="")
    trained = from_study(study)
    losses = [trial.values["params"] / 100 for trial in study.trials()]
    assert trained.what == "loss" and list(trained.results) == losses
    assert trained.truth.tolist() == [-each for each in losses]


def test_studies_without_trained_networks_are_refused(studied: Study, tmp_path: Path) -> None:
    studied.settings = replace(studied.settings, objectives=("params", "flops"))
    with pytest.raises(SettingsError, match=r"no objective that needs training \(params, flops\)"):
        from_study(studied)
    studied.settings = replace(studied.settings, objectives=("accuracy",), task="table:digits_bench")
    with pytest.raises(SettingsError, match=r"looked up in table:digits_bench.*evaluate on the table itself"):
        from_study(studied)


def test_two_trained_networks_are_too_few(studied: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    two = studied.trials()[:2]
    monkeypatch.setattr(studied, "trials", lambda page: two)
    with pytest.raises(SettingsError, match="study 'one' has 2 architectures with a result, but 3 or more are"):
        from_study(studied)


def test_a_table_of_one_result_is_too_small(tmp_path: Path) -> None:
    path = write(tmp_path / "o.csv", {"test_accuracy": [5] + [""] * 11})
    with pytest.raises(SettingsError, match=r"has 1 architecture with a result in test_accuracy, .* another --table"):
        from_table("nasbench201", path)


# Scores


def test_scores_of_a_table_are_those_of_the_judge_and_are_kept(table: str, tmp_path: Path) -> None:
    trained = from_table("nasbench201", table, 3, seed=2)
    store = Store.open(f"sqlite:///{tmp_path}/s.db", create=True)
    rows = score_table(trained, ("params",), store, "kept", workers=1, samples=3, seed=2)
    assert sorted((row.identity, row.column) for row in rows) == sorted(
        (identity(each), name) for each in trained.architectures for name in ("params",)
    )
    job = ScoreJob(("params",), (), 2, "nasbench201", "gaussian:3x32x32:10", 0, samples=3)
    values = {(row.identity, row.column): row.value for row in rows}
    for each in trained.architectures:
        for scored in judge(job, each):
            assert values[identity(each), scored.predictor] == scored.values[scored.predictor]
    again = score_table(trained, ("params",), store, "kept", workers=1, samples=3, seed=2)
    assert again == rows  # seconds with them: nothing was scored anew
    with pytest.raises(StoreError, match=r"'kept' exists with other settings \(batch 4 instead of 3"):
        score_table(trained, ("params",), store, "kept", workers=1, samples=4, seed=2)


def test_scores_of_a_study_are_those_of_its_screening(studied: Study) -> None:
    trained = replace(from_study(studied), architectures=tuple(each.architecture for each in studied.trials()[:3]))
    rows = score_study(studied, trained, ("gradsign",), 1)
    job = ScoreJob(("gradsign",), (), 5, "tiny", "digits", 2)
    expected = {identity(each): judge(job, each)[0].values["gradsign"] for each in trained.architectures}
    assert {row.identity: row.value for row in rows} == expected and len(rows) == 3
    assert score_study(studied, trained, ("gradsign",), 1) == rows


def test_of_a_larger_scoring_what_is_not_asked_waits(table: str, tmp_path: Path) -> None:
    store, said = Store.open(f"sqlite:///{tmp_path}/s.db", create=True), []
    six, three = from_table("nasbench201", table, 6), from_table("nasbench201", table, 3)
    settings = replace(ask("nasbench201", 6, None, BASELINES, samples=3), source=six.source)
    scoring = Scoring.create(store, settings, "kept", six.architectures)
    rows = score_table(three, ("params",), store, "kept", workers=1, samples=3, watch=said.append)
    assert {(row.identity, row.column) for row in rows} == {(identity(each), "params") for each in three.architectures}
    assert len(rows) == said[-1].total == said[-1].done == 3
    assert len(queries.scored(store, scoring.row.id, BASELINES)) == 3


def test_a_scoring_of_a_space_that_has_changed_is_refused(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, trained = Store.open(f"sqlite:///{tmp_path}/s.db", create=True), from_table("nasbench201", table, 3)
    settings = replace(ask("nasbench201", 3, None, ("params",)), source=trained.source)
    row = Scoring.create(store, settings, "kept", trained.architectures).row
    with store.driving("kept"), store.writing(row.id) as writer:
        writer.settings(row.settings | {"tree": {}})
    with pytest.raises(StoreError, match="space 'nasbench201' is not the one that 'kept' began with: give another --s"):
        score_table(trained, ("params",), store, "kept", workers=1)


def test_constraints_are_not_checked_again_on_what_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake training measures at most 1,000 parameters, but the networks themselves have more."""
    register(monkeypatch, TINY)
    study = start(tmp_path, space="tiny", trials=4, constraints=("params<=1000",))
    study.run(Inline(evaluate), content="")
    trained = from_study(study)
    broken, given_up, *others = map(identity, trained.architectures)
    with study.store.driving(study.name), study.store.writing(study.row.id) as writer:
        writer.score(broken, "params", None, 0.0, "params 2,000 breaks params<=1000")
        writer.score(given_up, "params", None, 0.0, "RuntimeError: no")
    rows = {row.identity: row for row in score_study(study, trained, ("params",), 1)}
    assert all((rows[key].value or 0) > 1000 and rows[key].reason is None for key in (broken, *others))
    assert rows[given_up].value is None and rows[given_up].reason == "RuntimeError: no"


# Both together


def row(i: int, column: str, value: float | None, seconds: float = 0.5, reason: str | None = None) -> ScoreRow:
    return ScoreRow(identity(CELLS[i]), column, value, seconds, reason)


def test_scores_and_results_are_joined(table: str) -> None:
    trained = from_table("nasbench201", table)
    kept = [row(i, "params", 100.0 - i) for i in reversed(range(12))]
    kept += [row(i, "flops", i % 5 if i != 6 else None, 2.0, "too large" if i == 6 else None) for i in range(10)]
    found = evaluation.evaluate(trained, BASELINES, kept, resamples=20)
    assert found.scores["params"] == [100.0 - i for i in range(12)]
    assert found.scores["flops"] == [0, 1, 2, 3, 4, 0, None, 2, 3, 4, None, None]
    assert found.reasons == {"params": {}, "flops": {"never scored": 2, "too large": 1}}
    assert found.seconds == {"params": 0.5, "flops": 2.0}
    agreement = found.agreements[ALL]["params"]
    assert agreement.kendall is not None
    assert agreement.kendall.value == pytest.approx(kendalltau(range(12), TESTS).statistic * -1)
    assert found.agreements[ALL]["flops"].missing == 3
    assert found.agreements[SOUND]["params"].scored == 12 - sum(trained.degenerate or [])
    assert found.agreements[BEST]["params"].scored == 1  # a tenth of the ten that are sound


def test_the_seconds_are_a_median_that_a_first_call_does_not_move(table: str) -> None:
    kept = [row(i, "params", i, 9.0 if i == 0 else i / 10) for i in range(12)]
    found = evaluation.evaluate(from_table("nasbench201", table), ("params",), kept, resamples=5)
    assert found.seconds == {"params": pytest.approx((0.6 + 0.7) / 2)}


JUDGED = ScoreJob(("params",), (), 7, "nasbench201", "gaussian:3x32x32:10", 0, samples=1)


def printed(trained: Trained, capsys: pytest.CaptureFixture[str], count: int = 12) -> tuple[str, dict[str, Any]]:
    trained = replace(trained, architectures=trained.architectures[:count], results=trained.results[:count])
    kept = [row(i, "params", i) for i in range(count)]
    found = evaluation.evaluate(trained, ("params",), kept, resamples=5)
    print_evaluation(found, JUDGED)
    return capsys.readouterr().out, record(found, JUDGED)


def test_a_set_that_is_too_small_gets_a_line_and_no_table(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    trained = from_table("nasbench201", table)
    assert sum(trained.degenerate or []) == 2
    shown, said = printed(trained, capsys)
    assert "best 10 %: 1 architecture, too few to say anything\n" in shown
    assert "all: 12 architectures, best baseline" in shown and "non-degenerate: 10 architectures, best" in shown
    assert "building the network is not included" in shown
    assert said["sets"][BEST] is None and said["sets"][ALL]["params"]["scored"] == 12
    shown, said = printed(trained, capsys, 9)
    assert "all: 9 architectures, too few to say anything\n" in shown and "building" not in shown
    assert said["sets"] == {ALL: None, SOUND: None, BEST: None}


def test_where_degenerate_networks_are_unknown_a_line_says_so(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    trained = from_table("nasbench201", table)
    trained = replace(trained, space=replace(trained.space, degenerate=None))
    shown, said = printed(trained, capsys)
    assert "non-degenerate: space nasbench201 cannot tell degenerate networks\n" in shown
    assert said["sets"][SOUND] is None and said["sets"][ALL] is not None


def test_what_the_networks_were_scored_with_is_told(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown, said = printed(from_table("nasbench201", table), capsys)
    assert "scored with 1 sample of gaussian:3x32x32:10, seed 7\n" in shown
    assert said["scored_with"] == {"task": "gaussian:3x32x32:10", "samples": 1, "seed": 7}


def test_what_a_study_is_scored_with_is_its_own(studied: Study) -> None:
    job = study_job(studied, ("params",))
    assert (job.task, job.samples, job.seed, job.split_seed, job.constraints) == ("digits", 16, 5, 2, ())


def test_a_smaller_result_counts_as_better_where_it_is_a_loss(table: str) -> None:
    trained = replace(from_table("nasbench201", table), maximize=False)
    found = evaluation.evaluate(trained, ("params",), [row(i, "params", i) for i in range(12)], resamples=5)
    correlation = found.agreements[ALL]["params"].spearman
    assert correlation is not None and correlation.value == pytest.approx(-spearmanr(range(12), TESTS).statistic)


def test_a_combination_is_pooled_over_what_is_evaluated(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def pool(rows: Any) -> list[float]:
        return [first * 10 + second + len(rows) / 100 for first, second in rows]

    both = Predictor("both", "", lambda *_: {}, cost="", parts=("one", "two"), pool=pool)
    registry.entries("predictor")
    monkeypatch.setitem(registry._entries["predictor"], "both", Entry("predictor", "both", both, ""))
    kept = [row(i, "both.one", i, 0.25) for i in range(12)] + [row(i, "both.two", 2 * i, 0.25) for i in range(11)]
    found = evaluation.evaluate(from_table("nasbench201", table), ("both",), kept, resamples=5)
    assert found.scores["both"] == pytest.approx([12 * i + 0.11 for i in range(11)] + [None])
    assert found.seconds["both"] == 0.5
    assert found.reasons["both"] == {"never scored": 1}


# The command


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["predictors", "evaluate", *arguments], catch_exceptions=True)


def test_the_command_prints_what_scipy_says(table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = [
        "--space",
        "nasbench201",
        "--table",
        table,
        "--count",
        "11",
        "--predictor",
        "params",
        "--workers",
        "1",
        "--resamples",
        "50",
    ]
    monkeypatch.setattr("predictors.evaluate.BASELINES", ("params",))
    said = json.loads(run(*asked, "--json", "--output", "drawn.svg").stdout)
    scores = {name: [each["scores"][name] for each in said["architectures"]] for name in ("params",)}
    assert [each["result"] for each in said["architectures"]] == [TESTS[i] for i in order(said)]
    for name in ("params",):
        truth = [each["result"] for each in said["architectures"]]
        agreement = said["sets"][ALL][name]
        assert agreement["spearman"]["value"] == pytest.approx(spearmanr(scores[name], truth).statistic)
        assert agreement["kendall"]["value"] == pytest.approx(kendalltau(scores[name], truth).statistic)
        assert said["seconds"][name] > 0
    assert said["architectures"][0].keys() == {"architecture", "result", "degenerate", "scores"}
    assert (tmp_path / "drawn.svg").read_text().startswith("<?xml")
    assert said["scored_with"] == {"task": "gaussian:3x32x32:10", "samples": 16, "seed": 0}
    monkeypatch.setattr(evaluate_command, "_draw", full)
    shown = run(*asked, "--quiet", "--output", "drawn.svg").stdout  # the tables come before the picture
    value = said["sets"][ALL]["params"]["spearman"]["value"]
    for words in ("all: 11 architectures", "non-degenerate: ", "best 10 %: ", f"{value:.3f}", "truth: test_accuracy"):
        assert words in shown
    assert np.isfinite(value)


def full(*_: Any) -> None:
    raise OSError("no space left")


def order(said: Any) -> list[int]:
    texts = [nasbench201.write(each) for each in CELLS]
    return [texts.index(each["architecture"]) for each in said["architectures"]]


OF = ("--space", "nasbench201", "--table")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to evaluate on: name a --table with its --space, or a --study"),
        (("--table", "t.csv"), "--table 't.csv' needs the --space that it is of"),
        ((*OF, "t.csv", "--count", "some"), "--count 'some' does not parse: write a number from 1 up, or all"),
        ((*OF, "t.csv", "--count", "0"), "--count '0' does not parse"),
        ((*OF, "t.csv", "--count", "13"), "--count 13 is more than"),
        ((*OF, "t.csv", "--count", "1"), "--count 1 is too few to compare anything: give 3 or more, or all"),
        ((*OF, "t.csv", "--output", "none/a.png"), "'none/a.png' cannot be written: name a file in a folder that is"),
        ((*OF, "t.csv", "--output", "a.pdf"), "'a.pdf' ends in none of .png, .svg, .html"),
        ((*OF, "no.csv"), "no.csv cannot be opened"),
        ((*OF, "t.csv", "--predictor", "paramz"), "params"),
        (("--study", "none"), "there is no store"),
        (("--study", "none", "--batch", "3"), "--batch is for a --table, but study 'none' has its own: leave it out"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_scored(
    arguments: tuple[str, ...], message: str, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run(*arguments)
    assert ran.exception is not None and message in str(ran.exception)
    assert not list(tmp_path.glob("*.db"))


def test_the_usual_count_is_a_thousand_where_there_are_more(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert evaluate_command._number(None, "nasbench201", table, None) is None
    monkeypatch.setattr(evaluate_command, "USUAL_COUNT", 11)
    assert evaluate_command._number(None, "nasbench201", table, None) == 11
    assert evaluate_command._number("all", "nasbench201", table, None) is None
