"""What KAN layers and rational activations cost and learn, beside other libraries' and beside plain layers.

Ours and the peers take turns, forward and backward on the same inputs in float32, and a ratio is the median of the
ratios of such turns. With one thread the time is the processor's, which other work on the machine disturbs less;
with two it is the clock's. Compilation is not counted.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Mapping

import kernel_costs
import learned
import peers
import torch
from common import Results, run
from learned import FORMULAS
from torch import Tensor, nn

from nas.training.measures import LiveStorages
from search_spaces.bases.bspline import LOCAL_FROM, BSpline
from search_spaces.layers.kan import KanConv2d, KanLinear
from search_spaces.registry import entries

PACKAGES = ("torch", "nas")
FEATURES, BATCH, INTERVALS = 256, 1024, 5
CUBIC = {"bspline": {"intervals": INTERVALS, "order": 3, "grid": "uniform"}}
IMAGE = (32, 16, 32, 32)
MIB = 2**20


def main() -> int:
    parts = {"linear": linear, "conv": conv, "local": local, "rational": rational}
    return run("components", parts | {"functions": functions, "digits": digits}, PACKAGES)


def linear(results: Results) -> None:
    """KAN linear 256 to 256, batch 1,024, cubic B-splines on 5 intervals."""
    wide = FEATURES * (1 + INTERVALS + 3)
    made = peers.load(results, peers.linear_peers(FEATURES, INTERVALS))
    layers = {"ours": KanLinear(FEATURES, FEATURES, CUBIC), "equal Linear": nn.Linear(wide, FEATURES)} | made
    inputs = {name: torch.randn(BATCH, wide if name == "equal Linear" else FEATURES) for name in layers}
    for threads in (1, 2):
        layers["ours compiled"], inputs["ours compiled"] = compiled(layers["ours"]), inputs["ours"]
        times = interleaved(results, layers, inputs, threads)
        where = f"linear, {threads} thread{'s' if threads > 1 else ''}"
        report(results, where, times, "ours", {"efficient-kan": 3.3, "FastKAN": 1.0})
        report(results, where, times, "ours compiled", {"efficient-kan": 4.5, "equal Linear": 1 / 1.25})
    saved(results, "linear", layers, inputs, 10)


def conv(results: Results) -> None:
    """KAN convolution 16 to 32, 3x3, over 32x32 maps, batch 32."""
    made = peers.load(results, peers.conv_peers(16, 32))
    layers: dict[str, nn.Module] = {"ours": KanConv2d(16, 32, basis=CUBIC), "Conv2d": nn.Conv2d(16, 32, 3, padding=1)}
    layers |= made
    inputs = {name: torch.randn(IMAGE) for name in [*layers, "ours compiled"]}
    for threads in (1, 2):
        layers["ours compiled"] = compiled(layers["ours"])
        times = interleaved(results, layers, inputs, threads)
        where = f"conv, {threads} thread{'s' if threads > 1 else ''}"
        report(results, where, times, "ours", {"torch-conv-kan": 2.0, "Conv2d": None})
        report(results, where, times, "ours compiled", {"torch-conv-kan": 4.5, "Conv2d": None})
    saved(results, "conv", layers, inputs)
    peaks = {name: peak(layers[name], inputs[name]) for name in layers if name != "ours compiled"}
    for name, bytes_ in peaks.items():
        results.add(f"conv, peak memory, {name}", bytes_ / MIB, "MiB")
    if "torch-conv-kan" in peaks:
        results.add("conv, peak memory, ours / torch-conv-kan", peaks["ours"] / peaks["torch-conv-kan"], "x", most=0.5)


def local(results: Results) -> None:
    """Fine grids: looking up the four splines that are not zero against contracting with all of them."""
    torch.set_num_threads(1)
    for intervals in (32, 61, 125):
        layers = {}
        for name, looked_up in (("dense", False), ("local", True)):
            basis = BSpline(intervals, 3)
            basis.prefers_local = looked_up
            layers[name] = KanLinear(FEATURES, FEATURES, basis)
        times = interleaved(results, layers, dict.fromkeys(layers, torch.randn(BATCH, FEATURES)), 1, turns=(2, 5, 15))
        ratios = [dense / own for dense, own in zip(times["dense"], times["local"], strict=True)]
        least = 1.0 if intervals + 3 >= LOCAL_FROM else None
        results.add(f"local support, {intervals + 3} functions, dense / local", ratios, "x", least=least)


def rational(results: Results) -> None:
    """group_rational over tokens beside GELU: the processor's part of `kernel_costs.py`."""
    kernel_costs.cpu(results)


def functions(results: Results) -> None:
    """KANs and perceptrons of equal size, fitted to formulas: the error on points that they have not seen."""
    for formula in results.size.pick(list(FORMULAS)[:1], list(FORMULAS)):
        errors = {kind: learned.errors(kind, formula, results.size.pick(1, 3)) for kind in ("KAN", "MLP")}
        for kind, each in errors.items():
            results.add(f"{formula}, {kind} of {learned.size(kind, formula):,} params, test RMSE", each, "")


def digits(results: Results) -> None:
    """Every activation and every basis in the same small network of kan_vision, trained on digits."""
    seeds, epochs = results.size.pick((1, 1), (3, learned.EPOCHS))
    for kind in ("activation", "basis"):
        names = list(entries(kind))
        for name in results.size.pick(names[:3], names):
            accuracies, seconds = zip(*(learned.digits(kind, name, seed, epochs) for seed in range(seeds)), strict=True)
            results.add(f"{kind} {name}, validation accuracy", accuracies, "")
            results.add(f"{kind} {name}, time", seconds, "s/epoch")


def compiled(layer: nn.Module) -> nn.Module:
    torch.compiler.reset()
    made: nn.Module = torch.compile(layer)  # type: ignore[assignment]
    return made


def interleaved(
    results: Results,
    layers: Mapping[str, nn.Module],
    inputs: Mapping[str, Tensor],
    threads: int,
    turns: tuple[int, int, int] = (5, 15, 40),
) -> dict[str, list[float]]:
    """Return the milliseconds of forward and backward of each layer, turn by turn."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    warm_up = 3
    times: dict[str, list[float]] = {name: [] for name in layers}
    for _ in range(results.size.pick(*turns) + warm_up):
        for name, layer in layers.items():
            x = inputs[name].clone().requires_grad_()
            layer.zero_grad()
            begin = clock()
            y = layer(x)
            y.backward(torch.ones_like(y))
            times[name].append(1000 * (clock() - begin))
    return {name: each[warm_up:] for name, each in times.items()}


def report(
    results: Results, where: str, times: Mapping[str, list[float]], ours: str, bars: Mapping[str, float | None]
) -> None:
    """Keep our time, and how many times as long each peer takes."""
    results.add(f"{where}, {ours}", times[ours], "ms")
    for name, each in times.items():
        if not name.startswith("ours"):
            ratios = [peer / own for peer, own in zip(each, times[ours], strict=True)]
            results.add(f"{where}, {name} / {ours}", ratios, "x", least=bars.get(name))


def saved(
    results: Results,
    where: str,
    layers: Mapping[str, nn.Module],
    inputs: Mapping[str, Tensor],
    most: float | None = None,
) -> None:
    """Keep the MiB that each layer saves for its backward pass, weights and buffers not counted."""
    for name, layer in layers.items():
        kept = kernel_costs.saved(layer, inputs[name].clone().requires_grad_())
        results.add(f"{where}, saved, {name}", kept / MIB, "MiB", most=most if name == "ours" else None)


def peak(layer: nn.Module, x: Tensor) -> int:
    """Return the peak bytes alive in forward and backward, weights, gradients and input included."""
    layer.zero_grad()
    gc.collect()
    point = x.clone().requires_grad_()
    live = LiveStorages([*layer.parameters(), *layer.buffers(), point])
    with live:
        y = layer(point)
        y.backward(torch.ones_like(y))
    return live.peak


if __name__ == "__main__":
    sys.exit(main())
