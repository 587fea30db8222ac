"""Adapters made by hand for given weights: for kinds and frameworks in which nothing trains yet."""

from collections.abc import Mapping

import numpy as np

from fourier_format import Adapter, EntrySet, Target
from fourier_format.adapter import Array
from fourier_format.fingerprint import fingerprint, stack

_COUNT = 40


def adapter_of(matrices: Mapping[str, tuple[str, Array]]) -> Adapter:
    """Return an adapter with one target for each name: a kind and the canonical matrix (out, in).

    The deltas are about as large as the weights, so that one that is missing shows.
    """
    random = np.random.default_rng(5)
    sets, targets = [], []
    for number, (name, (kind, matrix)) in enumerate(matrices.items()):
        out, in_ = matrix.shape
        n = min(_COUNT, out * in_)
        flat = random.choice(out * in_, n, replace=False)
        coefficients = random.standard_normal((1, n)) * np.sqrt(out * in_)
        sets.append(
            EntrySet(
                id=str(number),
                shape=(out, in_),
                entries=np.stack(np.divmod(flat, in_), axis=1).astype(np.int32),
                coefficients=coefficients.astype(np.float32),
                fingerprints=stack([fingerprint(np.ascontiguousarray(matrix), name)]),
            )
        )
        targets.append(Target(name=name, kind=kind, shape=(out, in_), entries=str(number), row=0))
    return Adapter(alpha=0.3, entry_sets=tuple(sets), targets=tuple(targets))
