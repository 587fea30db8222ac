"""How a stored weight becomes the canonical matrix: the registry's table 2."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from vectors.model import Vector, pretty


def vectors() -> Iterator[Vector]:
    """Yields the vectors of kinds: the stored weight is 0, 1, 2, ... in row-major order."""
    for id_, kind, layout, stored, out_axes, in_axes in (
        ("linear-out-in", "linear", "out_in", (2, 3), (0,), (1,)),
        ("linear-in-out", "linear", "in_out", (2, 3), (1,), (0,)),
        ("conv2d-oihw", "conv2d", "oihw", (2, 3, 2, 4), (0,), (1, 2, 3)),
        ("conv2d-hwio", "conv2d", "hwio", (2, 4, 3, 2), (3,), (2, 0, 1)),
        ("conv2d-depthwise", "conv2d", "oihw", (4, 1, 3, 3), (0,), (1, 2, 3)),
        ("embedding", "embedding", "vocab_dim", (5, 3), (1,), (0,)),
        ("einsum-query", "einsum_dense", None, (4, 2, 3), (1, 2), (0,)),
        ("einsum-output", "einsum_dense", None, (2, 3, 4), (2,), (0, 1)),
        ("einsum-dense", "einsum_dense", None, (3, 4), (1,), (0,)),
        ("einsum-middle", "einsum_dense", None, (2, 3, 4), (0, 2), (1,)),
        ("einsum-descending", "einsum_dense", None, (2, 3, 4), (2,), (1, 0)),
        ("einsum-apart", "einsum_dense", None, (2, 3, 4, 2), (1, 3), (2, 0)),
    ):
        axes: dict[str, object] = {"contracted": list(in_axes)}
        if layout is not None:
            axes = {"layout": layout}
        shape = [math.prod(stored[axis] for axis in group) for group in (out_axes, in_axes)]
        content = {"kind": kind, **axes, "stored_shape": stored, "canonical_shape": shape}
        order = in_axes if layout is not None else sorted(in_axes)
        content["canonical"] = _canonical(stored, (*out_axes, *order))
        files = {".json": pretty(content)}
        about = f"{kind} stored as {layout or 'a kernel'}"
        yield Vector(id=id_, kind="kinds", clause="3.3", about=about, files=files)


def _canonical(stored: tuple[int, ...], order: tuple[int, ...]) -> list[int]:
    """Returns the flat canonical matrix of 0, 1, 2, ... in the shape `stored`."""
    strides = [math.prod(stored[axis + 1 :]) for axis in range(len(stored))]
    ranges = [range(stored[axis]) for axis in order]
    return [
        sum(index * strides[axis] for index, axis in zip(indices, order, strict=True))
        for indices in itertools.product(*ranges)
    ]
