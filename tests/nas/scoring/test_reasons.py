"""What a search keeps of the proposals that it scored."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_runs import WIDE, Fake, register, start

from nas.store import queries


def test_a_screening_keeps_why_a_proposal_has_no_score(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch, WIDE)
    study = start(tmp_path, screen="params:4", trials=3)
    study.run(Fake(scores=lambda architecture: None if architecture["network"]["width"] > 20 else 1.0))
    rows = queries.scored(study.store, study.row.id, ["params"])
    assert {(row.value, row.reason) for row in rows} == {(1.0, None), (None, "cannot be scored")}
