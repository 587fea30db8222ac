"""The fingerprint of base weights: which weight it is, and which checkpoint (spec, clause 9)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from fourier_format.adapter import Adapter, Array, Fingerprints
from fourier_format.dtypes import DTYPES, WEIGHT_DTYPES, dtype_name, little_endian_bytes
from fourier_format.errors import UnsupportedError, Violation
from fourier_format.sampling import splitmix64
from fourier_format.threads import by_blocks

POSITIONS_SEED: Final = 0x6670_7269_6E74  # "fprint" in ASCII
SAMPLES: Final = 32
NORM_TOLERANCE: Final = 1e-9
"""Relative: norms of one matrix differ by the order in which they were summed (spec, clause 9)."""

ROUNDED_NORM: Final = {"F64": 1e-6, "F32": 1e-6, "F16": 2.0**-11, "BF16": 2.0**-8}
"""What rounding to a dtype can change in a norm: half a unit in the last place of every value."""

_CHUNK_CELLS: Final = 2**15
"""Cells hashed or squared at a time: few enough for the cache."""

_PARALLEL_CELLS: Final = 2**21
"""Cells from which threads repay their start."""


class Fingerprint(NamedTuple):
    """The fingerprint of one canonical matrix.

    Attributes:
        dtype: The source dtype, "F32", "F16", "BF16" or "F64".
        samples: (32,) float32.
        norm: The Frobenius norm, accumulated in float64.
        sha256: (32,) uint8, of the canonical matrix in its source dtype, row-major, little-endian.
    """

    dtype: str
    samples: Array
    norm: float
    sha256: Array


def positions(shape: tuple[int, int]) -> Array:
    """Returns the (32,) int64 flat positions that are sampled, with replacement."""
    words = splitmix64.words(POSITIONS_SEED, 0, SAMPLES)
    return splitmix64.bounded(words, shape[0] * shape[1]).astype(np.int64)


def samples_of(matrix: Array) -> Array:
    """Returns the (32,) float32 samples of a canonical `matrix`."""
    rows, columns = np.divmod(positions((matrix.shape[0], matrix.shape[1])), matrix.shape[1])
    return matrix[rows, columns].astype(np.float32)


def fingerprint(matrix: Array, where: str) -> Fingerprint:
    """Returns the fingerprint of a canonical `matrix`; `where` names it in errors.

    Raises:
        UnsupportedError: The matrix is not of floating point, or not finite.
    """
    dtype = dtype_name(matrix.dtype)
    if dtype not in WEIGHT_DTYPES:
        raise _refused("E-BASE-UNSUPPORTED", where, "not a floating-point weight", str(dtype))
    norm = frobenius_norm(matrix)
    if not np.isfinite(norm):
        raise _refused("E-NUMBER-NONFINITE", where, "the base's weight is not finite")
    return Fingerprint(dtype, samples_of(matrix), norm, sha256_of(matrix))


def frobenius_norm(matrix: Array) -> float:
    """Returns the Frobenius norm of a canonical `matrix`, accumulated in float64."""
    straight = matrix if matrix.flags.c_contiguous else matrix.T  # in the order of its memory
    step = max(1, _CHUNK_CELLS // straight.shape[1])
    parallel = straight.size >= _PARALLEL_CELLS

    def squares(start: int, stop: int) -> float:
        return sum_of_squares(straight[start:stop])

    total = 0.0
    for part in by_blocks(squares, straight.shape[0], step, parallel=parallel):
        total += part
    return math.sqrt(total)


def sum_of_squares(rows: Array) -> float:
    """Returns the sum of the squares of a few rows, in float64."""
    wide = rows.astype(np.float64, order="C")
    return float(np.square(wide, out=wide).sum())  # BLAS would wake its threads


def sha256_of(matrix: Array) -> Array:
    """Returns (32,) uint8, the digest of a canonical `matrix` row-major and little-endian."""
    digest = hashlib.sha256()
    for rows in _row_chunks(matrix):
        digest.update(little_endian_bytes(rows))
    return np.frombuffer(digest.digest(), np.uint8)


def _row_chunks(matrix: Array) -> Iterator[Array]:
    step = max(1, _CHUNK_CELLS // matrix.shape[1])
    for start in range(0, matrix.shape[0], step):
        yield np.ascontiguousarray(matrix[start : start + step])


def stack(prints: Sequence[Fingerprint]) -> Fingerprints:
    """Returns the fingerprints of one entry set's targets, in row order; all of one dtype."""
    return Fingerprints(
        dtype=prints[0].dtype,
        samples=np.stack([p.samples for p in prints]),  # (L, 32)
        norm=np.array([p.norm for p in prints], np.float64),  # (L,)
        sha256=np.stack([p.sha256 for p in prints]),  # (L, 32)
    )


def row_of(prints: Fingerprints, row: int) -> Fingerprint:
    """Returns the fingerprint of the target in `row` of its entry set."""
    return Fingerprint(
        prints.dtype, prints.samples[row], float(prints.norm[row]), prints.sha256[row]
    )


def rows_of(prints: Fingerprints, rows: Sequence[int]) -> Fingerprints:
    """Returns the fingerprints of the targets in some `rows` of their entry set."""
    picked = list(rows)
    return Fingerprints(
        dtype=prints.dtype,
        samples=prints.samples[picked],
        norm=prints.norm[picked],
        sha256=prints.sha256[picked],
    )


def without_fingerprints(adapter: Adapter) -> Adapter:
    """Returns the adapter as if nothing were known of its base's weights."""
    sets = tuple(replace(entry_set, fingerprints=None) for entry_set in adapter.entry_sets)
    return replace(adapter, entry_sets=sets)


def disagreement(
    expected: Fingerprint | Fingerprints,
    dtype: str,
    samples: Array,
    norm: Callable[[], float | Array],
) -> str | None:
    """Returns what says that a base's weight is not the fingerprint's; None where it is (clause 9).

    Samples find a weight and the norm confirms it: a weight may differ wherever it is not sampled.
    The weights of several rows are compared at once, and one that differs is enough.

    Args:
        expected: The fingerprint, or those of several rows.
        dtype: The dtype in which the base holds the weight.
        samples: (32,) float32, of the base's canonical matrix, or (T, 32).
        norm: Gives its Frobenius norm, or (T,) norms; asked for where the samples agree.

    Returns:
        "samples", "norm" or None.
    """
    if not agrees(expected.samples, samples, dtype):
        return "samples"
    tolerance = NORM_TOLERANCE if expected.dtype == dtype else ROUNDED_NORM[dtype]
    near = np.abs(norm() - expected.norm) <= tolerance * expected.norm
    return None if np.all(near) else "norm"


def agrees(expected: Array, found: Array, dtype: str) -> bool:
    """Whether samples `found` in a base of `dtype` are the `expected` ones.

    That finds the weights that may be meant; `disagreement` says whether one is. The expected
    samples are rounded to `dtype` and must then be equal bit for bit, but for values near float16's
    subnormals, which float16 converters clamp to a smallest magnitude.
    """
    rounded = expected if dtype in _HOLD_F32 else round_to(expected, dtype)
    equal = rounded == found
    if dtype == "F16":
        equal |= (np.abs(rounded) <= F16_CLAMP) & (np.abs(found) <= F16_CLAMP)
    return bool(equal.all())


_HOLD_F32: Final = frozenset({"F32", "F64"})

F16_CLAMP: Final = 1.2e-7
"""ONNX's float16 converter lifts magnitudes below 1e-7 to 1e-7, that is 1.19e-7 in float16."""


def round_to(values: Array, dtype: str) -> Array:
    """Returns float32 `values` rounded once to `dtype`, as float32."""
    with np.errstate(over="ignore"):
        return values.astype(DTYPES[dtype]).astype(np.float32)


def _refused(code: str, where: str, problem: str, got: str | None = None) -> UnsupportedError:
    return UnsupportedError(Violation(code, where, problem, got))
