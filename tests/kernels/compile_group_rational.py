"""Compile the kernels of group_rational for sm_90, which needs no GPU, and look at how they read and write."""

import triton.language as tl
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from kernels.group_rational.triton_kernel import gradients_kernel, value_kernel
from kernels.group_rational.triton_op import WARPS, tile

SIZES = {"fp32": 4, "bf16": 2}

for kernel in (value_kernel, gradients_kernel):
    for dtype, inner in (("fp32", 96), ("bf16", 96), ("bf16", 27)):
        one = tile(inner, SIZES[dtype])
        constants = {"WORK": tl.float32, "LANES": one.lanes, "VECTOR": one.vector, "COLUMNS": one.width}
        signature, aligned = {}, {}
        for place, name in enumerate(kernel.arg_names):
            of_values = name in ("x_start", "y_start", "grad_start", "slope_start")
            pointer = f"*{dtype}" if of_values else "*fp32" if name.endswith("_start") else "i32"
            signature[name] = "constexpr" if name in constants else pointer
            if name.endswith("_start") or (name == "inner" and inner % 16 == 0):
                aligned[(place,)] = [["tt.divisibility", 16]]
        source = ASTSource(kernel, signature, constants, aligned)
        code = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": WARPS}).asm["ptx"]
        vectors = inner % 16 == 0
        assert ("ld.global.v4.b32" in code, "st.global.v4.b32" in code) == (vectors, vectors), (kernel, dtype, inner)
        assert "ld.local" not in code and "st.local" not in code
