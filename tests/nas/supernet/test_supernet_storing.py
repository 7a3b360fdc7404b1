from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from supernet_space import TASK, TOY, Patterns, architecture, block, space

from nas.supernet.bank import Supernet
from nas.supernet.errors import SupernetError
from nas.supernet.storing import load, save

DRAWN = (architecture(block("linear", wiring="dense"), width=4), architecture(block(), block()))
NEW = architecture(block({"kan_linear": {"basis": "rbf"}}))
INPUTS = TASK.train()[0][:8]


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Supernet, Path]:
    bank = Supernet(TOY, TASK, seed=5)
    for drawn in DRAWN:
        bank.path(drawn)
    with torch.no_grad():
        for tensor in bank.tensors.values():
            tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1)))
    save(bank, tmp_path / "bank.safetensors")
    return bank, tmp_path / "bank.safetensors"


def test_a_supernet_comes_back_as_it_was_and_grows_as_it_would_have(saved: tuple[Supernet, Path]) -> None:
    bank, path = saved
    back = load(path, TOY, TASK)
    assert back.tensors.keys() == bank.tensors.keys()
    for drawn in (*DRAWN, NEW):
        assert torch.equal(back.run(drawn, INPUTS), bank.run(drawn, INPUTS))
    assert [path.name for path in path.parent.iterdir()] == ["bank.safetensors"]


def test_equal_supernets_are_equal_files(saved: tuple[Supernet, Path]) -> None:
    _, path = saved
    again = path.with_name("again")
    save(load(path, TOY, TASK), again)
    assert again.read_bytes() == path.read_bytes()


def refused(path: Path, tree: object = TOY, task: object = TASK) -> str:
    with pytest.raises(SupernetError) as error:
        load(path, tree, task)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_supernet_of_another_space_or_task_is_refused(saved: tuple[Supernet, Path]) -> None:
    path = saved[1]
    assert "another space than 'toy'" in refused(path, space("impossible"))
    assert "another task than 'patterns'" in refused(path, task=Patterns(1))


def test_a_missing_damaged_or_foreign_file_is_refused(saved: tuple[Supernet, Path]) -> None:
    path = saved[1]
    content = path.read_bytes()
    assert "is not there" in refused(path.with_name("none"))
    path.write_bytes(content[:-10])
    assert "damaged" in refused(path)
    path.write_bytes(content[:-10] + bytes([content[-10] ^ 1]) + content[-9:])
    assert "checksum" in refused(path)
    path.write_text("a text")
    assert "damaged or no safetensors file" in refused(path)
    save_file({"a": torch.zeros(1)}, path)
    assert "tensors of another program" in refused(path)
