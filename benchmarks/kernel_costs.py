"""What the kernels cost: group_rational on this processor beside GELU, and on a GPU beside copying memory.

On the processor everything runs on one thread and takes turns, forward and backward in float32, by the processor's
clock; a ratio is the median of the ratios of such turns, compilation not counted. On a GPU the Triton kernel is first
held against float64.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import Results, run
from torch import Tensor, nn

from kernels.choice import INSTALLED
from kernels.group_rational import reference
from search_spaces.activations.rational import Rational

CHANNELS, GROUPS = 768, 8
TOKENS = (64, 197, CHANNELS)
GPU_TOKENS = (1024, 197, CHANNELS)
CHECKED = 64
H200 = 4.8e12  # bytes a second, by its data sheet
MIB = 2**20


def main() -> int:
    return run("kernels", {"cpu": cpu, "gpu": gpu, "settings": settings}, ["nas", "torch", "triton"])


def cpu(results: Results) -> None:
    """group_rational over tokens [64, 197, 768], eager and compiled, beside torch's GELU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ours = Rational(CHANNELS, GROUPS, dim=-1)
    layers: dict[str, Callable[[Tensor], Tensor]] = {"GELU": nn.GELU(), "eager": ours, "compiled": torch.compile(ours)}
    peer = kat(results)
    if peer:
        layers["KAT"] = peer
    x, grad = torch.randn(TOKENS, requires_grad=True), torch.randn(TOKENS)
    times: dict[str, list[float]] = {name: [] for name in layers}
    warm_up = 3
    for turn in range(warm_up + results.size.pick(10, 20, 60)):
        for name, layer in layers.items():
            begin = time.process_time()
            layer(x).backward(grad)
            if turn >= warm_up:
                times[name].append(1000 * (time.process_time() - begin))
            x.grad = None
    bars = {"eager": 3.5, "compiled": 2.3}
    for name, each in times.items():
        results.add(f"{name}, {list(TOKENS)}", each, "ms")
        if name != "GELU":
            ratios = [ours / gelu for ours, gelu in zip(each, times["GELU"], strict=True)]
            results.add(f"{name} / GELU", ratios, "x", most=bars.get(name))
    for name, layer in layers.items():
        results.add(f"{name}, saved / x", saved(layer, x) / x.nbytes, "x", most=1.001 if name in bars else None)
    torch.set_num_threads(threads)


def saved(layer: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Return the bytes that a layer keeps for its backward pass, its parameters and buffers not counted."""
    held = (*layer.parameters(), *layer.buffers()) if isinstance(layer, nn.Module) else ()
    own = {each.untyped_storage().data_ptr() for each in held}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(x)
    return sum(kept.values())


def kat(results: Results) -> nn.Module | None:
    """Return KAT's own layer for processors, from an installed package or from a clone in the folder NAS_PEERS."""
    folder = Path(os.environ.get("NAS_PEERS", "peers")) / "rational_kat_cu"
    if folder.is_dir():
        sys.path.append(str(folder))
    if not importlib.util.find_spec("kat_rational"):
        results.skip(
            "KAT", f"no {folder}: git clone https://github.com/Adamdad/rational_kat_cu, and NAS_PEERS=the folder above"
        )
        return None
    from kat_rational.kat_1dgroup_torch import KAT_Group_Torch

    results.peer("KAT", f"KAT_Group_Torch({GROUPS}, 'swish') of Adamdad/rational_kat_cu")
    made: nn.Module = KAT_Group_Torch(GROUPS, "swish")
    return made


def gpu(results: Results) -> None:
    """The Triton kernel against float64, then against copying memory, over tokens [1024, 197, 768]."""
    if not on_gpu(results, "gpu"):
        return
    from triton.testing import do_bench

    from kernels.group_rational import triton_op

    for dtype, bound in ((torch.float32, 1e-6), (torch.bfloat16, 1e-2)):
        name = str(dtype).removeprefix("torch.")
        check(results, dtype, bound)
        grad, x, a, b = drawn(GPU_TOKENS[0], dtype)
        y = torch.empty_like(x)
        rate = 2 * x.nbytes / do_bench(lambda x=x, y=y: y.copy_(x), return_mode="median")
        results.add(f"{name}, copy", rate / 1e9, "TB/s")
        calls = {
            "forward": (2, lambda x=x, a=a, b=b: triton_op.value(x, a, b)),
            "backward": (3, lambda grad=grad, x=x, a=a, b=b: triton_op.gradients(grad, x, a, b)),
        }
        for direction, (passes, call) in calls.items():
            taken = do_bench(call, return_mode="median")
            results.add(f"{name}, {direction}", taken, "ms")
            results.add(f"{name}, {direction}, floor of an H200", 1000 * passes * x.nbytes / H200, "ms")
            results.add(f"{name}, {direction}, share of the copy rate", passes * x.nbytes / taken / rate, "x")


def settings(results: Results) -> None:
    """The backward pass with other numbers of lanes, warps and programs than those in `triton_op`."""
    if not on_gpu(results, "settings"):
        return
    from triton.testing import do_bench

    from kernels.group_rational import triton_op

    usual = triton_op.LANES, triton_op.WARPS, triton_op.PROGRAMS
    for dtype in (torch.float32, torch.bfloat16):
        inputs = drawn(GPU_TOKENS[0], dtype)
        tried = [usual, *results.size.pick([], [(128, 4, 2048), (256, 4, 4096), (256, 8, 4096)], sweep())]
        for lanes, warps, programs in tried:
            triton_op.LANES, triton_op.WARPS, triton_op.PROGRAMS = lanes, warps, programs
            taken = do_bench(lambda inputs=inputs: triton_op.gradients(*inputs), return_mode="median")
            results.add(f"{dtype}, backward, {lanes} lanes, {warps} warps, {programs} programs", taken, "ms")
    triton_op.LANES, triton_op.WARPS, triton_op.PROGRAMS = usual


def sweep() -> list[tuple[int, int, int]]:
    return [(n, w, p) for n in (128, 256, 512) for w in (2, 4, 8) for p in (1056, 2112, 4096, 8192)]


def on_gpu(results: Results, part: str) -> bool:
    there = torch.cuda.is_available() and INSTALLED
    if not there:
        why = "no CUDA device" if INSTALLED else "Triton is not installed: pip install 'nas[triton]'"
        results.skip(f"part {part}", f"{why}; the Triton kernels are neither checked nor timed")
    return there


def drawn(batch: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw a gradient and an x [batch·197, 8, 96] on the GPU, and coefficients."""
    torch.manual_seed(0)
    shape = (batch * GPU_TOKENS[1], GROUPS, CHANNELS // GROUPS)
    grad, x = (torch.randn(shape, device="cuda", dtype=dtype) for _ in range(2))
    a, b = (torch.randn(GROUPS, count, device="cuda") for count in (6, 4))
    return grad, x, a, b


def check(results: Results, dtype: torch.dtype, bound: float) -> None:
    """Hold values and gradients against the reference in float64: the largest error as a share of the largest value."""
    from kernels.group_rational import triton_op

    grad, x, a, b = drawn(CHECKED, dtype)
    wide = [each.double() for each in (grad, x, a, b)]
    got = [triton_op.value(x, a, b), *triton_op.gradients(grad, x, a, b)]
    wanted = [reference.value(*wide[1:]), *reference.gradients(*wide)]
    names = {"value": bound, "gradient of x": bound, "numerator": 1e-5, "denominator": 1e-5}
    for (name, most), each, exact in zip(names.items(), got, wanted, strict=True):
        error = ((each.double() - exact).abs().max() / exact.abs().max()).item()
        results.add(f"{dtype}, error of {name}", error, "x", most=most)
    again = triton_op.gradients(grad, x, a, b)
    same = all(torch.equal(one, other) for one, other in zip(again, got[1:], strict=True))
    results.add(f"{dtype}, a second run is equal bit by bit", float(same), "", least=1)


if __name__ == "__main__":
    sys.exit(main())
