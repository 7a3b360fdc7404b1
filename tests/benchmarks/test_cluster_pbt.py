"""The comparison of PBT with random search is a fair one."""

from __future__ import annotations

import population
import pytest


@pytest.mark.slow
def test_both_arms_train_as_many_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population, "MEMBERS", 4)
    for arm in (("pbt", {"interval": 1}), ("none", {})):
        validation, test, trained = population._selected(*arm, epochs=3, seed=0)
        assert trained == 4 * 3
        assert 0.5 < validation <= 1 and 0.5 < test <= 1
