"""What a trainer must compute, written out in float64 without any fast transform.

The formulas are those of spec, clauses 3.1 and 3.2: Fourier's, the orthonormal DCT-II's and
Hartley's cas, with the phase reduced in integers, and one level of a wavelet.
No framework takes part.
"""

from __future__ import annotations

import numpy as np

from fourier_format.adapter import Array
from fourier_format.wavelets import LOW_PASS

TRANSFORMS = ("dft2", "dht2", "dct2")
WAVELETS = ("dwt2:db1", "dwt2:db5", "dwt2:sym4", "dwt2:coif2", "dwt2:coif4-peft")


def delta_at(
    transform: str, shape: tuple[int, int], entries: Array, values: Array, p: Array, q: Array
) -> Array:
    """Return delta[p, q] for alpha 1 at positions (m,), one sum over all entries each."""
    u, v = entries.T.astype(np.int64)[:, :, None]  # 2 x (n, 1)
    out, in_ = shape
    if transform.startswith("dwt2:"):
        ((left, right),) = factors(transform, shape, entries, p, q)
        wave = left * right  # (n, m)
    elif transform == "dct2":
        wave = _cosine(u, p, out) * _cosine(v, q, in_)
    else:
        angle = 2 * np.pi * ((u * p % out) / out + (v * q % in_) / in_)  # (n, m)
        wave = (np.cos(angle) + (np.sin(angle) if transform == "dht2" else 0)) / (out * in_)
    at: Array = values.astype(np.float64) @ wave
    return at


def delta(transform: str, shape: tuple[int, int], entries: Array, values: Array) -> Array:
    """Return the whole of it, (out, in)."""
    p, q = (axis.ravel() for axis in np.indices(shape))
    return delta_at(transform, shape, entries, values, p, q).reshape(shape)


def factors(
    transform: str, shape: tuple[int, int], entries: Array, p: Array, q: Array
) -> list[tuple[Array, Array]]:
    """Return pairs of (n, len p) and (n, len q) whose products, summed, are the entries' waves.

    By the sum formulas: a wave is at most four products. It is what makes large sizes affordable.
    """
    u, v = entries.T.astype(np.int64)[:, :, None]  # 2 x (n, 1)
    out, in_ = shape
    if transform.startswith("dwt2:"):
        (out_band, out_index), (in_band, in_index) = (
            _place(transform, f, length) for f, length in ((u, out), (v, in_))
        )
        left = _window(transform, in_band, out_index, p)
        return [(left, _window(transform, out_band, in_index, q))]
    if transform == "dct2":
        return [(_cosine(u, p, out), _cosine(v, q, in_))]
    a, b = 2 * np.pi * ((u * p % out) / out), 2 * np.pi * ((v * q % in_) / in_)
    norm = 1 / (out * in_)
    pairs = [(np.cos(a) * norm, np.cos(b)), (-np.sin(a) * norm, np.sin(b))]
    if transform == "dht2":
        pairs += [(np.sin(a) * norm, np.cos(b)), (np.cos(a) * norm, np.sin(b))]
    return pairs


def delta_block(
    transform: str, shape: tuple[int, int], entries: Array, values: Array, p: Array, q: Array
) -> Array:
    """Return delta[p][:, q] for alpha 1, by products of matrices."""
    block = np.zeros((len(p), len(q)))
    for left, right in factors(transform, shape, entries, p, q):
        block += product((left * values.astype(np.float64)[:, None]).T, right)
    return block


def coefficient_gradient(
    transform: str, shape: tuple[int, int], entries: Array, gradient: Array
) -> Array:
    """Return the gradient of the coefficients, (n,), for alpha 1, from a delta weight's."""
    found = np.zeros(len(entries))
    for left, right in factors(transform, shape, entries, np.arange(shape[0]), np.arange(shape[1])):
        found += (product(left, gradient.astype(np.float64)) * right).sum(1)
    return found


def product(a: Array, b: Array) -> Array:
    """Return the product of two matrices."""
    return np.asarray(a @ b)


def _cosine(frequency: Array, position: Array, length: int) -> Array:
    """Return the orthonormal DCT-II's rows: sqrt(2 / d) cos(pi (2 p + 1) f / (2 d))."""
    phase = (2 * position.astype(np.int64) + 1) * frequency % (4 * length)
    scale = np.sqrt(np.where(frequency == 0, 1, 2) / length)
    return np.asarray(scale * np.cos(np.pi * phase / (2 * length)))


def filters(transform: str) -> Array:
    """Return g_0 and g_1 of "dwt2:<wavelet>", (2, L)."""
    low = np.array(LOW_PASS[transform.removeprefix("dwt2:")])
    return np.stack([low, (-1.0) ** np.arange(len(low)) * low[::-1]])


def _place(transform: str, frequency: Array, length: int) -> tuple[Array, Array]:
    """Return the band and the index of entries along one axis (spec, clause 3.2)."""
    taps = filters(transform).shape[1]
    half = (length + length % 2 + taps - 2) // 2
    place = frequency + taps // 2 - 1
    band = (place >= half).astype(np.int64)
    return band, place - half * band


def _window(transform: str, band: Array, index: Array, position: Array) -> Array:
    """Return w(b, i, y) = g_b[y + L - 2 - 2i], 0 where there is no such tap."""
    both = filters(transform)
    tap = position + both.shape[1] - 2 - 2 * index
    inside = (tap >= 0) & (tap < both.shape[1])
    return np.asarray(np.where(inside, both[band, np.where(inside, tap, 0)], 0.0))


def entries_of(shape: tuple[int, int], count: int, seed: int = 0) -> Array:
    """Return (n, 2) int32 distinct entries, the peculiar ones first, n up to `count`.

    Those at frequency 0, at half the length, and mirrored pairs are peculiar.
    """
    out, in_ = shape
    rng = np.random.default_rng(seed)
    marks = {(u, v) for u in (0, 1, out // 2, out - 1) for v in (0, 1, in_ // 2, in_ - 1)}
    found = [(u, v) for u, v in sorted(marks) if u < out and v < in_]
    while len(set(found)) < min(count, out * in_):
        u, v = int(rng.integers(out)), int(rng.integers(in_))
        found += [(u, v), (-u % out, -v % in_)]
    unique = list(dict.fromkeys(found))[: min(count, out * in_)]
    rng.shuffle(unique)
    return np.array(unique, np.int32).reshape(-1, 2)


def values_of(count: int, seed: int = 1) -> Array:
    """Return (n,) standard normal coefficients."""
    return np.random.default_rng(seed).standard_normal(count)


def error(got: Array | None, expected: Array | None) -> float:
    """Return the largest difference, relative to the largest expected value."""
    assert got is not None
    assert expected is not None
    a, b = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert a.shape == b.shape
    if a.size == 0:
        return 0.0
    assert np.isfinite(a).all()
    largest = float(np.abs(b).max())
    return float(np.abs(a - b).max()) / (largest or 1.0)
