"""A live graph written by hand, the smallest that has all sorts of inputs; and its adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fourier_format import Adapter, EntrySet, Sampling, Target
from fourier_format.adapter import Array
from fourier_format.fingerprint import fingerprint, stack
from fourier_format.live import Bank, Interface, Parameter, Seat, to_text
from fourier_format.live.interface import KEY, entries_digest
from tests.fourier_converters.adapters import delta
from tests.fourier_converters.graphs import model, save, weight
from tests.fourier_format.transforms import reference

COEFFICIENTS, DIFFERENCE = "coefficients", "difference"
NAMES = ("enc.q", "enc.k")
WEIGHTS = {name: weight(8, 6, seed=seed) for seed, name in enumerate(NAMES)}
BIAS = weight(1, 8, seed=7)[0]
X = weight(5, 6, seed=9)
_ENTRIES = np.array([[0, 0], [3, 5], [7, 1], [4, 3]], np.int32)

_TEXT = """
    g (float[N, 6] x, float[A, 2, 4] coefficients, float[A, 8] difference)
    => (float[N, 8] q, float[N, 8] k) {
        zero = Constant <value = int64[1] {0}> ()
        first = Constant <value_int = 0> ()
        second = Constant <value_int = 1> ()
        shape = Constant <value = int64[2] {6, 8}> ()
        rows = Shape <start = 0, end = 1> (coefficients)
        some = Greater (rows, zero)
        change = ReduceSum <keepdims = 0> (difference, zero)
        bias = Add (b, change)
        xq = MatMul (x, wq)
        qb = Add (xq, bias)
        kb = MatMul (x, wk)
        q = If (some) <
            then_branch = q_then () => (float[N, 8] q_sum) {
                q_c = Gather <axis = 1> (coefficients, first)
                q_flat = MatMul (q_c, basis)
                q_delta = Reshape (q_flat, shape)
                q_term = MatMul (x, q_delta)
                q_sum = Add (qb, q_term)
            },
            else_branch = q_else () => (float[N, 8] q_same) { q_same = Identity (qb) }
        >
        k = If (some) <
            then_branch = k_then () => (float[N, 8] k_sum) {
                k_c = Gather <axis = 1> (coefficients, second)
                k_flat = MatMul (k_c, basis)
                k_delta = Reshape (k_flat, shape)
                k_term = MatMul (x, k_delta)
                k_sum = Add (kb, k_term)
            },
            else_branch = k_else () => (float[N, 8] k_same) { k_same = Identity (kb) }
        >
    }
"""


def adapter(
    *names: str,
    bias: Array | None = None,
    prints: bool = True,
    entries: Array = _ENTRIES,
    seed: int = 0,
    alpha: float = 30.0,
) -> Adapter:
    """Returns an adapter of these targets, both by default, whose coefficients share one set."""
    names = names or NAMES
    drawn = np.random.default_rng(seed).standard_normal((len(names), len(entries)))
    prints_of = stack([fingerprint(WEIGHTS[name], name) for name in names])
    only = EntrySet(
        id="0",
        shape=(8, 6),
        entries=entries,
        coefficients=drawn.astype(np.float32),
        sampling=Sampling(method="explicit", generator=None),
        fingerprints=prints_of if prints else None,
    )
    return Adapter(
        alpha=alpha,
        seed=0,
        entry_sets=(only,),
        targets=tuple(
            Target(name=name, kind="linear", shape=(8, 6), entries="0", row=row)
            for row, name in enumerate(names)
        ),
        replacements={} if bias is None else {"enc.q.bias": bias},
    )


def outputs(whole: Adapter | None) -> list[Array]:
    """Returns what the base computes of X with an adapter, in float64."""
    bias = (whole.replacements if whole else {}).get("enc.q.bias", BIAS)
    adapted = {target.name for target in whole.targets} if whole else set()
    summed = [
        w.astype(np.float64) + (delta(whole, name) if whole and name in adapted else 0)
        for name, w in WEIGHTS.items()
    ]
    return [X @ summed[0].T + bias, X @ summed[1].T]


def live_graph(folder: Path, interface: Interface | None = None) -> Path:
    """Write the live graph, and what it says of itself unless that is given."""
    arrays = {
        "wq": WEIGHTS[NAMES[0]].T,
        "wk": WEIGHTS[NAMES[1]].T,
        "b": BIAS,
        "basis": _basis(),
        COEFFICIENTS: np.zeros((0, 2, 4), np.float32),
        DIFFERENCE: np.zeros((0, 8), np.float32),
    }
    proto = model(_TEXT, arrays)
    describe(proto, to_text(described() if interface is None else interface))
    return save(proto, folder / "live.onnx")


def describe(proto: Any, text: str) -> None:
    """Add what a live graph says of itself."""
    entry = proto.metadata_props.add()
    entry.key, entry.value = KEY, text


def described() -> Interface:
    """Returns what the live graph has to say."""
    prints = {name: fingerprint(w, name) for name, w in WEIGHTS.items()}
    seats = tuple(Seat(n, "linear", p.dtype, 0.0, p.samples, p.norm) for n, p in prints.items())
    digest = entries_digest(_ENTRIES)
    bank = Bank(COEFFICIENTS, "dft2", (8, 6), len(_ENTRIES), digest, seats)
    return Interface((bank,), (Parameter("enc.q.bias", DIFFERENCE, BIAS),))


def _basis() -> Array:
    """Returns each entry's delta weight, transposed and flat, (4, 48), by the formula itself."""
    units = np.eye(len(_ENTRIES))
    rows = [reference.delta_weight("dft2", _ENTRIES, unit, (8, 6), 1.0).T.ravel() for unit in units]
    return np.stack(rows).astype(np.float32)
