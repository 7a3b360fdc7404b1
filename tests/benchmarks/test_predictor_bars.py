"""The benchmark of predictors: it gives way to the package of its name, and reads the reference's cells rightly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import predictor_bars
import pytest
from common import Results, Size

from search_spaces.spaces import nasbench201

FOLDER = Path(predictor_bars.__file__).parent


def test_the_script_gives_way_to_the_package_of_its_name() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(FOLDER)!r}); before = sys.path[:]\n"
        "import predictors, predictors.correlation as c\n"
        "assert predictors.Batch and c.spearman and 'benchmarks' not in predictors.__file__\n"
        "assert sys.path == before"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_cell_of_the_reference_is_written_in_the_notation() -> None:
    """Its keys name the operations of the edges out of the first node first."""
    text = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"
    assert predictor_bars._cell("(2, 0, 4, 1, 3, 1)") == text
    nasbench201.read(text)


def test_what_is_not_there_is_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NAS_TABLES", "NAS_DIGITS_STUDY", "NAS_SCORES"):
        monkeypatch.delenv(name, raising=False)
    results = Results(Size.USUAL)
    for part in (predictor_bars.nasbench201, predictor_bars.macro, predictor_bars.digits, predictor_bars.screening):
        part(results)
    assert not results.figures and results.skipped.keys() == {predictor_bars.CELLS, predictor_bars.MACRO, "digits"}
    assert "nas search --space kan_vision" in results.skipped["digits"]


def test_scores_are_kept_in_the_folder_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_SCORES", str(tmp_path / "new"))
    with predictor_bars._folder() as folder:
        assert folder == tmp_path / "new" and folder.is_dir()
    monkeypatch.delenv("NAS_SCORES")
    with predictor_bars._folder() as folder:
        assert folder.is_dir()
    assert not folder.exists()
