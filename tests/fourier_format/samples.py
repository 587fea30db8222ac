"""Small adapters and files for the tests of the command and of what stands behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import ml_dtypes
import numpy as np

from fourier_format import Adapter, EntrySet, Sampling, Target, manifest, sampling, strict_json
from fourier_format.adapter import Array
from fourier_format.containers import safetensors
from fourier_format.document import Document
from fourier_format.fingerprint import fingerprint, stack

Fields = dict[str, Any]
Tensors = dict[str, Array]

UNIFORM = Sampling(method="uniform", generator="splitmix64-fisher-yates")


def entry_set(
    shape: tuple[int, int], count: int, targets: int, recipe: Sampling | None = UNIFORM
) -> EntrySet:
    """Returns a set of the recipe's entries at seed 7, with coefficients and fingerprints."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape).astype(np.float32) for _ in range(targets)]
    drawn = recipe if recipe is not None and sampling.is_known(recipe) else UNIFORM
    return EntrySet(
        id=f"{shape[0]}x{shape[1]}",
        shape=shape,
        entries=sampling.draw(shape, count, drawn, 7),
        coefficients=rng.standard_normal((targets, count)).astype(np.float32),
        sampling=recipe,
        fingerprints=stack([fingerprint(weight, "w") for weight in weights]),
    )


def adapter(recipe: Sampling | None = UNIFORM) -> Adapter:
    """Returns an adapter of two sets and five targets, with a head and something of everything."""
    square, wide = entry_set((48, 32), 20, 3, recipe), entry_set((16, 32), 12, 2)
    wide_bf16 = wide.coefficients.astype(ml_dtypes.bfloat16)
    return Adapter(
        alpha=150.0,
        seed=7,
        entry_sets=(square, changed(wide, coefficients=wide_bf16)),
        targets=(
            *(_target(f"layer.{i}.query", square, i) for i in range(3)),
            *(_target(f"layer.{i}.down", wide, i) for i in range(2)),
        ),
        target_modules=("query", "down"),
        replacements={"head.weight": np.ones((4, 16), np.float16), "head.bias": np.zeros(4)},
        base_model={"name": "bert-tiny"},
        producer={"name": "tests"},
        labels=("cat", "dog"),
        metadata={"note": "trained on Tuesday", "epochs": 3, "again": 1},
    )


Record = TypeVar("Record")


def changed(record: Record, **fields: Any) -> Record:
    """Returns a frozen record with other values in some of its fields."""
    copy: Record = dataclasses.replace(record, **fields)  # type: ignore[type-var]
    return copy


def with_first_set(whole: Adapter, **fields: Any) -> Adapter:
    """Returns the adapter with other values in some fields of its first entry set."""
    first, *others = whole.entry_sets
    result: Adapter = changed(whole, entry_sets=(changed(first, **fields), *others))
    return result


def write_edited(path: Path, edit: Callable[[Fields, Tensors], None]) -> Path:
    """Write `adapter()`, its manifest and tensors changed by `edit`, under the right digest."""
    document = manifest.to_document(adapter())
    fields, tensors = strict_json.loads(document.manifest, "sample"), dict(document.tensors)
    edit(fields, tensors)
    path.write_bytes(safetensors.encode(Document(strict_json.dumps(fields), tensors)))
    return path


def _target(name: str, its_set: EntrySet, row: int) -> Target:
    return Target(name=name, kind="linear", shape=its_set.shape, entries=its_set.id, row=row)
