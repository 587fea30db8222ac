"""What torch.randperm(N, generator=torch.Generator().manual_seed(seed))[:n] draws, without torch.

PEFT draws its entries so (peft/tuners/fourierft/layer.py). The engine is MT19937 seeded by
init_genrand with the low 32 bits; the shuffle is ATen's randperm_cpu, which since torch 2.6 has a
second form for N >= (2**32 - 1) // 20. Source: spec/registry.md, section 3.3.
"""

from __future__ import annotations

from typing import Any, Final, cast

import numpy as np

from fourier_format.adapter import Array
from fourier_format.sampling.budget import Budget
from fourier_format.sampling.uniform import shuffle_head

FORWARD: Final = "mt19937-fy32"
INSIDE_OUT: Final = "mt19937-io64"
INSIDE_OUT_FROM: Final = (2**32 - 1) // 20
_CHUNK: Final = 2**22


def generator_for(total: int) -> str:
    """Returns the generator that torch >= 2.6 uses for a permutation of `total`."""
    return FORWARD if total < INSIDE_OUT_FROM else INSIDE_OUT


def forward(total: int, count: int, seed: int) -> Array:
    """Returns the first `count` of the forward Fisher-Yates permutation: count draws, no more."""
    draws = min(count, total - 1)  # the last place has nothing left to swap with
    words = _engine(seed).random_raw(draws).astype(np.uint64)
    steps = np.arange(draws, dtype=np.uint64)
    picks = (steps + words % (np.uint64(total) - steps)).tolist()
    return shuffle_head(picks + list(range(draws, count)))


def inside_out(total: int, count: int, seed: int, budget: Budget | None = None) -> Array:
    """Returns the first `count` of the inside-out permutation: all draws, O(count) memory.

    Step i puts a[z] at i and i at z, z uniform in 0..i; past the head only z < count matters.

    Raises:
        BudgetSpentError: `total` steps are more than the budget has left.
    """
    (budget or Budget()).spend(total)
    engine = _engine(seed)
    head = np.empty(count, np.int64)
    for start in range(0, total, _CHUNK):
        size = min(_CHUNK, total - start)
        raw = engine.random_raw(2 * size)
        words = (raw[0::2] << np.uint64(32)) | raw[1::2]
        steps = np.arange(start, start + size, dtype=np.uint64)
        places = words % (steps + np.uint64(1))
        for k in np.flatnonzero((places < count) | (steps < count)).tolist():
            i, z = start + k, int(places[k])
            if i < count:
                head[i] = head[z]
            if z < count:
                head[z] = i
    return head


def _engine(seed: int) -> np.random.MT19937:
    """Returns MT19937 in the state that init_genrand(seed mod 2**32) leaves."""
    engine = np.random.MT19937()
    state = np.random.RandomState(seed & 0xFFFFFFFF).get_state(legacy=False)
    engine.state = cast("Any", state)
    return engine
