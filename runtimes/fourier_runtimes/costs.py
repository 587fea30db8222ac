"""What each form of serving an adapter costs: its work, counted, times a measured table.

Work is counted in a few units (products, elements that are moved, small matrix products, ...); a
table has the nanoseconds of a unit, for each form, on one device (benchmarks/forms.py measures it).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from fourier_converters.onnx.live.basis import Basis, basis
from fourier_converters.onnx.live.blocks import ROWS
from fourier_format.atomic import os_errors
from fourier_format.errors import UsageError, Violation

Work: TypeAlias = Mapping[str, float]
"""How many of each unit."""

UNITS: Final[Mapping[str, tuple[str, ...]]] = {
    "base": ("run", "weight", "cold", "product"),
    "inputs": ("packed", "product"),
    "dense": ("group", "weight", "cold", "packed", "product"),
    "factored": ("group", "weight", "cold", "product", "element"),
    "by_row": ("group", "gemm", "vector", "product", "element"),
    "by_token": ("group", "gemm", "vector", "product", "element"),
    "merging": ("run", "weight", "base_weight"),
    "delta": ("run", "weight"),
}
"""The units of each form; `inputs` to `by_token` come on top of the base.

A weight is read; a cold one from memory and not from a cache; a packed one is arranged for a
product, as weights that are no constants are. A gemm is a small product by itself, a vector one
that is gathered, an element one that is moved.
"""

CACHED: Final = 2**22
"""Weights that stay in a cache from one run to the next: 16 MiB."""

_FILE: Final = "costs.json"
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Targets that read one input with one list of entries, as query and value do.

    Attributes:
        shape: (out, in) of each.
        n: The entries.
        targets: How many there are.
        transform: The transform.
    """

    shape: tuple[int, int]
    n: int
    targets: int = 1
    transform: str = "dft2"

    @property
    def weights(self) -> int:
        """The weights of all of them."""
        return self.shape[0] * self.shape[1] * self.targets

    @property
    def basis(self) -> Basis:
        """What a live graph holds for such entries: drawn ones, since their number counts."""
        return _basis(self.transform, self.shape, self.n)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Nanoseconds of each unit of each form, on one device.

    Attributes:
        device: "cpu" or "cuda".
        processor: What was measured.
        forms: By form (`UNITS`), the nanoseconds of its units.
    """

    device: str
    processor: str
    forms: Mapping[str, Mapping[str, float]]

    def ns(self, form: str, work: Work) -> float:
        """Returns the nanoseconds of `work` in a form."""
        of = self.forms[form]
        return sum(of[unit] * count for unit, count in work.items())


def table(device: str = "cpu", path: str | os.PathLike[str] | None = None) -> Table:
    """Returns what was measured on a device: ours, or what a file of benchmarks/forms.py holds.

    Raises:
        UsageError: There is no table of the device, or the file is none.
        FileAccessError: The file cannot be read.
    """
    where = Path(str(files("fourier_runtimes") / _FILE)) if path is None else Path(path)
    with os_errors(where, "read"):
        data = where.read_bytes()
    try:
        every = json.loads(data.decode())["devices"]
        if device not in every:
            advice = f"measure one: benchmarks/forms.py --device {device}"
            problem = f"no costs were measured on {device}"
            raise UsageError(Violation("E-USAGE", str(where), problem, advice=advice))
        return _table(device, every[device])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UsageError):
            raise
        problem = f"this is no table of costs: {type(error).__name__} {error}"
        raise UsageError(Violation("E-USAGE", str(where), problem)) from None


def _table(device: str, value: Mapping[str, Any]) -> Table:
    given = value["forms"]
    forms = {
        form: {unit: float(given[form][unit]) for unit in units} for form, units in UNITS.items()
    }
    if not all(0 <= ns < np.inf for of in forms.values() for ns in of.values()):
        raise ValueError("a cost is below 0 or not finite")
    return Table(device, str(value["processor"]), forms)


def linear(weights: float, tokens: float) -> Work:
    """Returns the work of linear layers of so many weights, for all tokens of a run."""
    return {"weight": weights, "cold": _cold(weights), "product": weights * tokens}


def inputs(weights: float, tokens: float) -> Work:
    """Returns what it adds that weights are inputs."""
    return {"packed": weights if tokens > 1 else 0.0, "product": weights * tokens}


def dense(weights: float, rows: float, tokens: float, *, groups: int = 1) -> Work:
    """Returns what deltas add that are fed, one for each of `rows`.

    Args:
        weights: The targets' weights, of all groups.
        rows: The rows of adapters.
        tokens: All tokens of a run.
        groups: How many groups there are.
    """
    read = rows * weights
    return {
        "group": groups,
        "weight": read,
        "cold": _cold(read),
        "packed": read if tokens > rows else 0.0,
        "product": tokens * weights,
    }


def factored(group: Group, tokens: float) -> Work:
    """Returns what a branch of plain cosines and sines adds, rank 2 n."""
    (out, in_), rank = group.shape, 2 * group.n
    products = rank * (in_ + group.targets * out)
    elements = tokens * (rank * (1 + group.targets) + group.targets * out)
    return {
        "group": 1,
        "weight": products,
        "cold": _cold(products),
        "product": tokens * products,
        "element": elements,
    }


def spectral(group: Group, rows: float, tokens: float, *, by_token: bool) -> Work:
    """Returns what the converter's branch adds, in either order (see live/spectrum.py).

    Args:
        group: The targets.
        rows: The rows that are fed, 1 for one adapter for all.
        tokens: All tokens of a run.
        by_token: Which order.
    """
    of, count, (out, in_) = group.basis, group.targets, group.shape
    blocks, width = of.begins.shape
    begun, met = blocks * width, blocks * ROWS
    inward = of.outer_in.size * of.split_in.b + of.inner_in.size
    outward = of.outer_out.size * of.split_out.b + of.inner_out.size
    products = tokens * (inward + count * (of.weights.size + outward))
    gemms = of.split_in.groups + count * of.split_out.groups
    found, ended = of.inner_in.shape[0] * of.inner_in.shape[1], of.ends.size
    ways = in_ + found + begun + count * (met + ended + 2 * out)
    own = count * (of.count + begun)
    if by_token:
        ways += in_ + count * (begun + out)
        gemms += count * blocks
    else:
        own += count * (begun + met * width)
        gemms = rows * (gemms + blocks)
    return {
        "group": 1,
        "gemm": gemms,
        "vector": count * begun + (1 if by_token else rows) * (begun + count * ended),
        "product": products,
        "element": tokens * ways + rows * own,
    }


def _cold(weights: float) -> float:
    return weights if weights > CACHED else 0.0


@lru_cache(maxsize=64)
def _basis(transform: str, shape: tuple[int, int], n: int) -> Basis:
    flat = np.random.default_rng(_SEED).permutation(shape[0] * shape[1])[:n]
    entries = np.stack([flat // shape[1], flat % shape[1]], axis=1).astype(np.int32)
    return basis(transform, shape, entries)
