"""Which form of a kernel is used, and what is said where it cannot be."""

import subprocess
import sys

import pytest
import torch

from kernels import choice
from kernels.choice import chosen

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("asked", "device", "installed", "used"),
    [
        ("auto", CUDA, True, "triton"),
        ("auto", CUDA, False, "reference"),
        ("auto", CPU, True, "reference"),
        ("", CUDA, True, "triton"),
        (None, CPU, True, "reference"),
        ("reference", CUDA, True, "reference"),
        ("triton", CUDA, True, "triton"),
    ],
)
def test_what_is_used(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, device: torch.device, installed: bool, used: str
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(choice, "INSTALLED", installed)
    if asked is None:
        monkeypatch.delenv("NAS_KERNELS", raising=False)
    else:
        monkeypatch.setenv("NAS_KERNELS", asked)
    assert chosen(device) == used


def test_the_interpreter_is_used_where_it_is_asked_for_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "INSTALLED", True)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setenv("NAS_KERNELS", "triton")
    assert chosen(CPU) == "triton"
    monkeypatch.setenv("NAS_KERNELS", "auto")
    assert chosen(CPU) == "reference"


@pytest.mark.parametrize(
    ("asked", "device", "installed", "error", "says"),
    [
        ("cuda", CPU, True, ValueError, "NAS_KERNELS is 'cuda', but auto, reference or triton is allowed"),
        ("triton", CUDA, False, RuntimeError, "Triton is not installed: pip install 'nas[triton]'"),
        (
            "triton",
            CPU,
            True,
            RuntimeError,
            "Triton does not run on cpu: move to a CUDA device, or set NAS_",
        ),
    ],
)
def test_what_cannot_be_used_says_so_in_one_line_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
    device: torch.device,
    installed: bool,
    error: type[Exception],
    says: str,
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(choice, "INSTALLED", installed)
    monkeypatch.setenv("NAS_KERNELS", asked)
    with pytest.raises(error) as caught:
        chosen(device)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_kernels_do_without_triton() -> None:
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch; from kernels.group_rational import group_rational\n"
        "group_rational(torch.ones(2, 4, requires_grad=True), torch.ones(2, 6), torch.ones(2, 4)).sum().backward()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
