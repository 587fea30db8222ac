"""Adapters made for given weights, and their delta weights by the formula itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import fourier_format
from fourier_format import Adapter, EntrySet, Sampling, Target, sampling
from fourier_format.adapter import Array
from fourier_format.fingerprint import fingerprint, stack
from fourier_format.sampling import torch_generator
from tests.fourier_format.transforms import reference

SEED = 777
COUNT = 5


def adapter(
    weights: Mapping[str, Array],
    *,
    alpha: float = 10.0,
    prints: bool = True,
    kind: str = "linear",
    count: int = COUNT,
    replacements: Mapping[str, Array] | None = None,
    **fields: Any,
) -> Adapter:
    """Returns an adapter of one target for each of `weights`, entries drawn as PEFT draws them."""
    sets = [_entry_set(str(i), w, i, prints, count) for i, w in enumerate(weights.values())]
    targets = [
        Target(name=name, kind=kind, shape=s.shape, entries=s.id, row=0)
        for name, s in zip(weights, sets, strict=True)
    ]
    return Adapter(
        alpha=alpha,
        seed=SEED,
        entry_sets=tuple(sets),
        targets=tuple(targets),
        replacements=replacements or {},
        **fields,
    )


def without_prints(weights: Mapping[str, Array], **fields: Any) -> Adapter:
    """Returns an adapter that cannot tell one base from another but by names."""
    return adapter(weights, prints=False, **fields)


def save(whole: Adapter, folder: Path, name: str = "a.fft") -> Path:
    path = folder / name
    fourier_format.save(whole, path, overwrite=True)
    return path


def delta(whole: Adapter, name: str) -> Array:
    """Returns the (out, in) float64 delta weight by the definition of the adapter's transform."""
    target = whole.target(name)
    return reference.delta_weight(
        whole.transform,
        whole.entry_set(target).entries,
        whole.coefficients(target),
        target.shape,
        whole.alpha_of(target),
    )


def replaced(record: Any, **fields: Any) -> Any:
    """Returns a frozen record with other values in some of its fields."""
    return dataclasses.replace(record, **fields)


def _entry_set(id_: str, canonical: Array, seed: int, prints: bool, count: int) -> EntrySet:
    shape = (canonical.shape[0], canonical.shape[1])
    recipe = Sampling(method="torch-randperm", generator=torch_generator(shape))
    coefficients = np.random.default_rng(100 + seed).standard_normal((1, count))
    return EntrySet(
        id=id_,
        shape=shape,
        entries=sampling.draw(shape, count, recipe, SEED),
        coefficients=coefficients.astype(np.float32),
        sampling=recipe,
        fingerprints=stack([fingerprint(canonical, "w")]) if prints else None,
    )
