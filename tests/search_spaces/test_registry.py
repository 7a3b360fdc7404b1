import subprocess
import sys
from pathlib import Path

import pytest
import torch

from search_spaces import registry
from search_spaces.decisions import Choice, Integer, Real, Struct
from search_spaces.registry import Entry, UnknownName

ROOT = Path(__file__).parents[2]


def test_an_entry_knows_what_its_docstring_and_its_registration_say() -> None:
    entry = registry.find("activation", "helu")
    assert entry.paper == "Hysteresis Activation Function for Efficient Inference"
    assert entry.options == Struct(alpha=Real(0.01, 0.2))
    assert entry.summary == "max(0, x), whose gradient passes where x > -alpha."
    assert registry.find("norm", "batch").lacks == {"vmap"}


def test_every_component_says_what_it_is() -> None:
    for kind in ("activation", "basis", "layer", "stem", "pool", "head", "wiring", "sparsity", "norm"):
        for entry in registry.entries(kind).values():
            assert entry.summary.endswith("."), f"{kind} {entry.name}: {entry.summary!r}"


def test_registering_a_name_twice_is_an_error() -> None:
    taken = registry.find("activation", "relu")
    with pytest.raises(ValueError, match="activation 'relu' is registered twice"):
        registry.add(Entry("activation", "relu", torch.nn.ReLU, ""))
    assert registry.find("activation", "relu") is taken


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("activation", "geluu", r"unknown activation 'geluu': did you mean gelu"),
        ("wiring", "zzz", "unknown wiring 'zzz': there are: dense, plain, residual, rezero"),
        ("activations", "relu", r"unknown kind 'activations': did you mean activation\?"),
    ],
)
def test_an_unknown_name_gets_the_nearest_ones(kind: str, name: str, message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        registry.find(kind, name)


def test_a_choice_carries_the_inner_decisions_of_its_entries() -> None:
    picked = registry.choice("basis", "chebyshev", "rbf")
    assert picked == Choice(chebyshev=Struct(degree=Integer(2, 5)), rbf=Struct(centres=Integer(4, 8)))
    assert set(registry.choice("wiring").options) == set(registry.entries("wiring"))
    assert registry.choice("basis", "chebyshev", "rbf", inner=False) == Choice("chebyshev", "rbf")


def test_a_choice_among_names_alone_has_no_inner_decisions() -> None:
    assert registry.choice("basis", "chebyshev", "adaptive", inner=False) == Choice("chebyshev", "adaptive")
    picked = registry.choice("basis", inner=False)
    assert picked == Choice(*registry.entries("basis"))
    for name in picked.options:
        assert registry.make("basis", name).count > 0


def test_making_a_component_passes_its_decisions() -> None:
    assert isinstance(registry.make("activation", "relu", 8), torch.nn.ReLU)
    assert registry.make("activation", {"helu": {"alpha": 0.1}}, 8).alpha == 0.1


PLUGIN = '''
import torch
from search_spaces.decisions import Struct, Real
from search_spaces.registry import register

@register("activation", "halved", options=Struct(by=Real(0.0, 1.0)))
def halved(channels, by=0.5):
    """x times a number."""
    return torch.nn.Identity()
'''


def test_another_distribution_adds_components_through_an_entry_point(tmp_path: Path) -> None:
    """A plug-in extends a kind and every space over it; a broken one is left out with a warning."""
    (tmp_path / "halving.py").write_text(PLUGIN)
    information = tmp_path / "halving-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: halving\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[nas.components]\nhalving = halving\nbroken = no_such_module\n")
    program = (
        "from search_spaces import registry\n"
        "from search_spaces.space import find_space\n"
        "print(registry.find('activation', 'halved').summary)\n"
        "print('halved' in str(find_space('kan_vision').describe()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == ["x times a number.", "True"], done.stderr
    assert "plug-in 'broken' of halving was left out: No module named 'no_such_module'" in done.stderr
