"""`nas score` and `nas predictors`: what they print, how they go on, and errors of one line."""

from __future__ import annotations

import csv
import json
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fake_runs import TWELVE, WIDE, Fake, register, start
from tiny_space import TINY, architecture

import nas
from nas import cli
from nas.execution import Event
from nas.execution.inline import Inline
from nas.job import Scored, ScoreJob
from nas.scoring.settings import ask, read_memory
from nas.scoring.study import Scoring
from nas.settings import SettingsError
from nas.store import Store, queries
from search_spaces.registry import entries


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


class Scorers(Fake):
    """Fake workers that say the width times a number of the predictor's own, and count what they are asked."""

    asked: list[tuple[str, Any]] = []  # noqa: RUF012
    ends_after: int | None = None
    too_wide = 0.0

    def _score(self, architecture: Any, predictor: str) -> Scored:
        if len(self.asked) == type(self).ends_after:
            type(self).ends_after = None
            raise KeyboardInterrupt
        self.asked.append((predictor, architecture))
        part = architecture["network"]
        value = part.get("width", part.get("two")) * {"params": 10.0, "gradsign": 1.0, "flops": -1.0}[predictor]
        reason = "too wide" if abs(value) == self.too_wide else None
        return Scored(predictor, {predictor: None if reason else value}, reason, 0.25)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in this process and in an empty folder, with workers that build no networks."""
    register(monkeypatch, WIDE, TWELVE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAS_DEBUG", "")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("nas.study.make_executor", lambda workers: Scorers())
    monkeypatch.setattr(Scorers, "asked", [])
    before = signal.getsignal(signal.SIGTERM)

    def run(line: str, *more: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["nas", *line.split(), *more])
        with pytest.raises(SystemExit) as end:
            cli.main()
        signal.signal(signal.SIGTERM, before)
        printed = capsys.readouterr()
        return Ran(int(end.value.code or 0), printed.out, printed.err)

    return run


SCORE = "score --space wide --study one --count 20 --predictor gradsign"


def rows() -> list[queries.TrialRow]:
    return Scoring(Store.open(), "one").rows()


def scores(*columns: str) -> list[dict[str, float | None]]:
    store = Store.open()
    found = queries.scores(store, queries.study(store, "one").id, columns)
    return [found[row.identity] for row in rows()]


def test_a_scoring_says_the_best_and_what_to_type_next(run: Run) -> None:
    ran = run(SCORE, "--top", "3")
    assert ran.code == 0
    assert ran.err.splitlines() == [
        "scoring one: wide by gradsign with 16 samples of digits",
        "20/20 architectures in 0 s",
    ]
    widths = sorted((row.architecture["network"]["width"] for row in rows()), reverse=True)
    shown = [int(each) for each in re.findall(r"^│ +\d+ │ +(\d+) │", ran.out, re.M)]
    assert shown == widths[:3]
    for said in (
        "Best of one by gradsign, of 20 that have a score",
        "gradsign   20 of 20 scored, 0.25 s an architecture",
    ):
        assert said in ran.out
    first = re.search(r"^│ +(\d+) │", ran.out, re.M)
    assert first and f"next      nas show one --trial {first[1]}" in ran.out
    assert "nas search --space wide --screen gradsign:10 --trials 50" in ran.out


def test_what_has_no_score_is_told_with_its_reason(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorers, "too_wide", 40)
    ran = run("score --space wide --study one --count 60 --predictor gradsign --predictor params")
    forty = sum(row.architecture["network"]["width"] == 40 for row in rows())
    four = sum(row.architecture["network"]["width"] == 4 for row in rows())
    assert forty and four
    assert f"60/60 architectures in 0 s · {forty + four} without a score" in ran.err
    assert f"gradsign   {60 - forty} of 60 scored" in ran.out and f"{forty} without: too wide" in ran.out
    assert f"params     {60 - four} of 60 scored" in ran.out and f"{four} without: too wide" in ran.out
    assert "by mean rank over gradsign, params, of 60 that have a score" in ran.out


def test_none_that_can_be_scored_is_no_success(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorers, "too_wide", 40)
    (Path.cwd() / "forty").write_text('{"network": {"width": 40, "kind": "a"}, "training": {"rate": 0.5}}')
    ran = run("score --space wide --architectures forty --predictor gradsign --study one")
    assert ran.code == 3 and "no architecture of one has a score" in ran.out
    assert "next" not in ran.out
    ran = run("score --space wide --count 3 --predictor gradsign --only network.width=40 --study drawn")
    assert ran.code == 3 and "no architecture of drawn has a score" in ran.out and "next" not in ran.out


def test_the_search_that_is_suggested_is_of_the_same_part(run: Run) -> None:
    ran = run("score --space wide --count 9 --predictor gradsign --only network.width=3..9 --constraint params<=9e9")
    part = "--only network.width=3..9 --constraint 'params<=9e9'"
    assert f"nas search --space wide {part} --screen gradsign:10 --trials 50\n" in ran.out


def test_what_ran_out_of_memory_is_told_and_tried_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = True

    def score(self: Any, architecture: Any, predictor: str) -> Scored:
        short = lacking and architecture["network"]["width"] > 20
        return Scored(predictor, {predictor: None if short else 1.0}, "no memory" if short else None, 0.1, short)

    monkeypatch.setattr(Scorers, "_score", score)
    ran = run(SCORE)
    wide = sum(row.architecture["network"]["width"] > 20 for row in rows())
    assert f"{wide} to be tried again by `nas resume one`: no memory" in ran.out and ran.code == 0
    assert "interrupted" in run("list").out
    assert run(SCORE, "--json").json["again"] == {"architectures": wide, "reason": "no memory"}
    lacking = False
    assert f"{wide} architectures in 0 s, {20 - wide} scored before" in run("resume one", "--workers", "1").out
    assert "finished" in run("list").out


def test_memory_given_again_is_taken_and_else_stays(run: Run) -> None:
    def memory() -> int:
        return Scoring(Store.open(), "one").settings.memory

    run(SCORE)
    assert memory() == 2**30
    run(SCORE, "--memory", "3MB")
    assert memory() == 3_000_000
    run(SCORE, "--predictor", "params")
    assert memory() == 3_000_000 and scores("gradsign", "params")[0].keys() == {"gradsign", "params"}


@pytest.mark.parametrize("again", [SCORE, "resume one"])
def test_an_interrupted_scoring_goes_on_where_it_was(run: Run, monkeypatch: pytest.MonkeyPatch, again: str) -> None:
    monkeypatch.setattr(Scorers, "ends_after", 9)
    ran = run(SCORE)
    assert ran.code == 130 and ran.out == ""
    assert ran.err.endswith("interrupted: everything so far is kept; go on with `nas resume one`\n")
    assert "interrupted" in run("list").out and "2/20" in run("list").out
    Scorers.asked.clear()
    ran = run(again)
    assert ran.code == 0 and len(Scorers.asked) == 18
    assert "18 architectures in 0 s, 2 scored before" in ran.out
    assert "20/20" in run("list").out and "finished" in run("list").out
    assert [each["gradsign"] for each in scores("gradsign")] == [row.architecture["network"]["width"] for row in rows()]


def test_the_same_command_again_scores_nothing(run: Run) -> None:
    first = run(SCORE).out
    Scorers.asked.clear()
    again = run(SCORE)
    assert again.code == 0 and Scorers.asked == []
    assert again.out.replace("0 architectures in 0 s, 20 scored before", "20 architectures in 0 s") == first


def test_a_further_predictor_adds_its_scores_and_a_larger_count_its_architectures(run: Run) -> None:
    run(SCORE)
    before = [row.architecture for row in rows()]
    Scorers.asked.clear()
    run("score --space wide --study one --count 5 --predictor params")
    assert [name for name, _ in Scorers.asked] == ["params"] * 20
    Scorers.asked.clear()
    run("score --space wide --study one --count 25")  # the predictors stay
    assert sorted(name for name, _ in Scorers.asked) == ["gradsign"] * 5 + ["params"] * 5
    assert [row.architecture for row in rows()][:20] == before and len(rows()) == 25
    Scorers.asked.clear()
    run("resume one --trials 26")
    assert len(rows()) == 26 and len(Scorers.asked) == 2
    assert all(each.keys() == {"gradsign", "params"} for each in scores("gradsign", "params"))


def test_the_draw_is_repeatable_from_the_seed(run: Run) -> None:
    run(SCORE)
    run(SCORE.replace("one", "two"))
    run(SCORE.replace("one", "three"), "--seed", "1")
    store = Store.open()
    one, two, three = ([row.identity for row in Scoring(store, name).rows()] for name in ("one", "two", "three"))
    assert one == two != three


def test_of_a_small_space_all_is_scored(run: Run) -> None:
    ran = run("score --space twelve --study one --count 100 --predictor gradsign")
    assert "12 architectures in 0 s, all that the space has" in ran.out and "12/12" in run("list").out
    assert len({row.identity for row in rows()}) == 12
    ran = run("score --space twelve --study two --count 100 --predictor gradsign --only network.one=a,b")
    assert "8 architectures in 0 s, all that the space has" in ran.out
    assert {row.architecture["network"]["one"] for row in Scoring(Store.open(), "two").rows()} == {"a", "b"}
    assert "all that" not in run("score --space twelve --study three --count 11 --predictor gradsign").out


def test_architectures_of_a_file_are_scored_and_a_longer_file_adds_to_them(run: Run, tmp_path: Path) -> None:
    lines = [json.dumps({"network": {"one": "c", "two": two}}) for two in (3, 1, 3, 2)]
    (tmp_path / "some").write_text("\n".join(lines[:2]))
    (tmp_path / "more").write_text("\n".join(lines))
    asking = "score --space twelve --study one --predictor gradsign --architectures"
    run(asking, "some")
    assert scores("gradsign") == [{"gradsign": 3.0}, {"gradsign": 1.0}]
    Scorers.asked.clear()
    run(asking, "more")
    assert scores("gradsign") == [{"gradsign": 3.0}, {"gradsign": 1.0}, {"gradsign": 2.0}] and len(Scorers.asked) == 1
    ran = run("resume one --trials 9")
    assert ran.code == 2 and "give a longer file to `nas score --architectures`" in ran.err
    ran = run("score --space twelve --study one --predictor gradsign")
    assert ran.code == 2 and "architectures drawn instead of read" in ran.err


def test_all_scores_go_to_a_file_the_best_first(run: Run, tmp_path: Path) -> None:
    ran = run("score --space twelve --study one --count 12 --predictor flops --output scores.csv")
    assert "nas.db and scores.csv" in ran.out
    with open(tmp_path / "scores.csv") as handle:
        found = list(csv.DictReader(handle))
    assert [float(each["flops"]) for each in found] == [-1.0] * 3 + [-2.0] * 3 + [-3.0] * 3 + [-4.0] * 3
    assert {json.loads(each["architecture"])["network"]["one"] for each in found} == {"a", "b", "c"}


def test_json_is_all_that_is_printed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scorers, "too_wide", 40)
    ran = run("score --space wide --study one --count 60 --predictor gradsign --top 2 --json")
    said = ran.json
    assert ran.err == "" and said["study"] == "one" and said["settings"]["scoring"]["samples"] == 16
    told = said["predictors"]["gradsign"]
    forty = sum(row.architecture["network"]["width"] == 40 for row in rows())
    assert (told["tried"], told["scored"], told["seconds"]) == (60, 60 - forty, 0.25)
    assert told["reasons"] == {"too wide": forty}
    assert len(said["best"]) == 2 and said["best"][0]["ranks"] == {"gradsign": 1}
    assert said["best"][0]["scores"]["gradsign"] == said["best"][0]["architecture"]["network"]["width"]
    shown = run("show one --json").json
    assert shown["best"][:2] == said["best"] and len(shown["best"]) == 10


def test_a_scoring_and_its_architectures_are_shown(run: Run) -> None:
    run(SCORE, "--predictor", "params", "--constraint", "params<=1e9")
    shown = run("show one").out
    assert "study one, a scoring, finished: 20/20 architectures" in shown
    assert "space wide, 16 samples of digits, predictors gradsign, params, seed 0, constraints params<=1e9" in shown
    assert "Best of one by mean rank" in shown and "gradsign   20 of 20 scored" in shown
    width = rows()[7].architecture["network"]["width"]
    one = run("show one --trial 7").out
    assert re.search(rf"gradsign +{width} \(#\d+\)", one) and re.search(rf"params +{10 * width} \(#\d+\)", one)
    assert re.search(rf"network\.width +│ {width} ", one)
    assert run("show one --trial 7 --json").json["architecture"] == rows()[7].architecture
    ran = run("show one --trial 20")
    assert ran.code == 2 and ran.err == "nas: study 'one' has no architecture 20: its architectures are 0 to 19\n"


@pytest.mark.parametrize(
    "line",
    ["best one", "confirm one", "export one", "compare one one", "search --space wide --study one --trials 2"],
)
def test_what_needs_training_refuses_a_scoring(run: Run, line: str) -> None:
    run(SCORE)
    ran = run(line)
    assert ran.code == 2 and ran.err.count("\n") == 1
    assert "study 'one' is a scoring, whose networks are not trained: see it with `nas show one`" in ran.err


def test_a_scoring_refuses_the_name_of_a_search_and_other_settings(run: Run, tmp_path: Path) -> None:
    start(tmp_path)
    ran = run(SCORE)
    assert ran.code == 2 and ran.err == "nas: study 'one' is a search: choose another --study for a scoring\n"
    run(SCORE.replace("one", "two"))
    ran = run(SCORE.replace("one", "two"), "--seed", "3", "--batch", "8")
    assert ran.err == (
        "nas: study 'two' exists with other settings (batch 8 instead of 16, seed 3 instead of 0): "
        "choose another --study\n"
    )
    assert ran.code == 2


BAD = {
    "unknown predictor": ("--predictor gradsing", "unknown predictor 'gradsing': did you mean gradsign"),
    "unknown space": ("--space kan_vison", "unknown space 'kan_vison': did you mean kan_vision?"),
    "unknown task": ("--task digit", "unknown task 'digit': did you mean digits?"),
    "unlike any task": ("--task nonsense", "(or noise: gaussian:CHANNELSxHEIGHTxWIDTH:CLASSES)"),
    "an ensemble": ("--predictor a+b", "--predictor 'a+b' is not one predictor: give the option for each, as --pre"),
    "a large batch": ("--batch 5000", "--batch 5000 is more than the training split of digits has: give at most 1"),
    "task without samples": ("--task table:digits_bench", "has no samples, because its results are looked up"),
    "shapeless noise": ("--task gaussian:3x32:10", "write gaussian:CHANNELSxHEIGHTxWIDTH:CLASSES"),
    "no count": ("--count 0", "--count 0 is not allowed: it must be at least 1"),
    "words for a count": ("--count many", "'many'"),
    "no batch": ("--batch 0", "--batch 0 is not allowed: it must be at least 1"),
    "no memory": ("--memory 0", "--memory '0' does not parse: write 512MB, 2GB, or a number of bytes from 1 up"),
    "words for memory": ("--memory much", "--memory 'much' does not parse"),
    "unknown unit": ("--memory 3XB", "--memory '3XB' does not parse"),
    "no workers": ("--workers 0", "--workers 0 is not allowed: it must be at least 1"),
    "a name that is a path": ("--study a/b", "--study 'a/b' is not allowed"),
    "no such decision": ("--only network.x=3", "there is no decision 'network.x'"),
    "no constraint": ("--constraint params", "constraint 'params' does not parse"),
    "trained constraint": ("--constraint accuracy>=1", "which needs training"),
    "no such file": ("--architectures none", "--architectures 'none' cannot be read"),
    "drawn and read": ("--count 3 --architectures none", "leave one of them out"),
    "no such folder": ("--output none/scores.csv", "--output 'none/scores.csv' cannot be written"),
    "none to show": ("--top 0", "'--top'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(run: Run, tmp_path: Path, name: str) -> None:
    line, said = BAD[name]
    ran = run(f"score --space wide --predictor gradsign {line}")
    assert ran.code == 2 and ran.out == ""
    assert said in ran.err and ran.err.startswith("nas: ") and ran.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--executor simulated", "--executor 'simulated' does not score networks: choose one of auto, inline, ray"),
        ("--executor inline --workers 2", "--executor inline has one worker, but --workers is 2"),
        ("--trial-seconds 2", "--trial-seconds are virtual, but 'one' is a scoring: leave them out"),
    ],
)
def test_a_scoring_is_not_simulated(run: Run, options: str, said: str) -> None:
    run(SCORE)
    ran = run(f"resume one {options}")
    assert ran.code == 2 and said in ran.err and ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("512MB", 512_000_000), ("2 gb", 2_000_000_000), ("1.5GiB", 3 * 2**29), ("8kb", 8000)],
)
def test_memory_is_read_with_its_unit(text: str, size: int) -> None:
    assert read_memory(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1e9", "MB", "0.1", "1 2"])
def test_what_is_no_memory_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="does not parse"):
        read_memory(text)


def test_samples_are_noise_of_the_published_shape_where_a_space_has_one() -> None:
    assert ask("nasbench201", 1, predictors=("params",)).task == "gaussian:3x32x32:10"
    assert ask("kan_vision", 1, predictors=("params",)).task == "digits"
    assert ask("nasbench201", 1, "digits", ("params",)).task == "digits"


def test_settings_are_kept_and_reach_the_workers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[ScoreJob] = []
    fake = Scorers(spy=lambda call, what: jobs.append(what) if call == "submit" else None)
    monkeypatch.setattr("nas.study.make_executor", lambda workers: fake)
    run(
        f"{SCORE} --task gaussian:1x4x4:3 --batch 5 --memory 3MB --seed 7 --split-seed 2 "
        "--constraint params<=10 --only network.width=3..9"
    )
    assert fake.closed
    job = jobs[0]
    assert (job.space, job.task, job.seed, job.split_seed) == ("wide", "gaussian:1x4x4:3", 7, 2)
    assert (job.samples, job.memory, [str(each) for each in job.constraints]) == (5, 3_000_000, ["params<=10"])
    assert all(3 <= row.architecture["network"]["width"] <= 9 for row in rows())
    assert Scoring(Store.open(), "one").settings.differences(
        ask("wide", 1, "gaussian:1x4x4:3", ("gradsign",), samples=5, seed=7, split_seed=2, only=("network.width=3..9",))
    ) == ["constraints () instead of ('params<=10',)"]


def test_predictors_are_listed_with_cost_and_needs(run: Run) -> None:
    found = {each["name"]: each for each in run("predictors --json").json}
    assert found.keys() == entries("predictor").keys() >= {"gradsign", "params", "flops", "consensus"}
    assert found["gradsign"]["labels"] is True and found["params"]["labels"] is False
    assert found["gradsign"]["cost"] == "a backward pass for each sample" and "Zhang" in found["gradsign"]["paper"]
    listed = run("predictors").out
    assert listed.endswith("more on one of them: nas catalog show --kind predictor NAME\n")
    assert listed.count("\n") < 100 and run("catalog show --kind predictor params").code == 0
    assert all(name in listed for name in found) and "higher is better for all" in listed


def test_real_networks_are_scored_from_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch, TINY)
    monkeypatch.setattr("nas.scoring.study.make_executor", lambda workers: Inline())
    frame = nas.score(
        "tiny", ["gradsign", "params"], count=6, store=f"sqlite:///{tmp_path}/nas.db", constraints=("params<=3000",)
    )
    assert len(frame) == 6 and list(frame.columns[:4]) == ["number", "gradsign", "params", "mean_rank"]
    assert frame["mean_rank"].is_monotonic_increasing
    for row in frame.to_dict("records"):
        width, norm = row["network.width"], row["network.norm"]
        counted = 10 * width + 2 * width * norm + 10 * (64 * width + 1)
        assert row["params"] == counted if counted <= 3000 else row["params"] != row["params"]
    assert 0 < frame["params"].count() < 6


class Broken(Inline):
    """One worker whose second chunk ends the program."""

    chunks = 0

    def events(self, timeout: float) -> list[Event]:
        type(self).chunks += 1
        if self.chunks == 2:
            raise KeyboardInterrupt
        return super().events(timeout)


def test_scores_do_not_depend_on_interruptions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch, TINY)
    lines = [json.dumps(architecture(width=width)) for width in (2, 3, 4, 5)]
    (tmp_path / "some").write_text("\n".join(lines))

    def score(name: str, executor: type[Inline]) -> Any:
        monkeypatch.setattr("nas.scoring.study.make_executor", lambda workers: executor())
        store = f"sqlite:///{tmp_path}/nas.db"
        return nas.score("tiny", ["gradsign"], architectures=tmp_path / "some", store=store, study=name)

    whole = score("whole", Inline)
    with pytest.raises(KeyboardInterrupt):
        score("parts", Broken)
    assert score("parts", Inline).equals(whole) and whole["gradsign"].is_unique
