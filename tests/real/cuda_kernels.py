"""Operators for which ONNX Runtime's CUDA provider has kernels, as far as live graphs use them."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import onnx


class Operator(NamedTuple):
    """An operator."""

    domain: str
    kind: str


# From docs/OperatorKernels.md of microsoft/onnxruntime at commit 001d12d2623f, the table of
# CUDAExecutionProvider: each has float, float16 and, of opset 13, bfloat16, and those that compute
# with shapes have int64. The exception is Pad, which has no bfloat16. ONNX Runtime puts what only
# computes shapes, and an If's condition, on the CPU by itself.
KERNELS: dict[tuple[str, str], int] = {
    ("", "Add"): 7,
    ("", "And"): 7,
    ("", "Cast"): 6,
    ("", "Concat"): 4,
    ("", "Equal"): 7,
    ("", "Expand"): 8,
    ("", "Gather"): 1,
    ("", "Greater"): 9,
    ("", "Identity"): 1,
    ("", "If"): 1,
    ("", "Less"): 9,
    ("", "MatMul"): 1,
    ("", "Mul"): 7,
    ("", "Or"): 7,
    ("", "Pad"): 2,
    ("", "Reshape"): 5,
    ("", "Shape"): 1,
    ("", "Slice"): 10,
    ("", "Split"): 2,
    ("", "Transpose"): 1,
    ("", "Where"): 9,
    ("com.microsoft", "Attention"): 1,
    ("com.microsoft", "MultiHeadAttention"): 1,
}
"""(domain, operator) -> the first opset with a kernel that takes what a branch computes with."""


def operators(path: Path) -> Counter[Operator]:
    """Return how often a model has each operator, bodies included."""
    found: Counter[Operator] = Counter()
    waiting = [onnx.load(path, load_external_data=False).graph]
    while waiting:
        for node in waiting.pop().node:
            domain = "" if node.domain == "ai.onnx" else node.domain
            found[Operator(domain, node.op_type)] += 1
            waiting += [entry.g for entry in node.attribute if entry.HasField("g")]
    return found


def opset(path: Path) -> int:
    """Return the version of ONNX's own domain that a model imports."""
    imports = onnx.load(path, load_external_data=False).opset_import
    return max(int(entry.version) for entry in imports if entry.domain in {"", "ai.onnx"})


def without_kernel(found: Iterable[Operator], version: int) -> set[str]:
    """Return the operators without a kernel in this opset; a Constant is none, but a tensor."""
    return {
        f"{one.domain}:{one.kind}"
        for one in found
        if one.kind != "Constant"
        and KERNELS.get((one.domain, one.kind), 1000) > (1 if one.domain else version)
    }
