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
    """Returns the (out, in) float64 delta weight by the definition, one cosine at a time."""
    target = whole.target(name)
    out, in_ = target.shape
    p, q = np.arange(out)[:, None], np.arange(in_)[None, :]
    total = np.zeros((out, in_))
    entries = whole.entry_set(target).entries.tolist()
    for (u, v), c in zip(entries, whole.coefficients(target).astype(np.float64), strict=True):
        phase = (u * p % out) / out + (v * q % in_) / in_
        total += c * np.cos(2 * np.pi * phase)
    result: Array = whole.alpha_of(target) / (out * in_) * total
    return result


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
