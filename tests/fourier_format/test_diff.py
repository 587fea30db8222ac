"""`diff` finds every difference in meaning, and none in how a file arranges the same meaning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fourier_format import Adapter, Fingerprints, Sampling
from fourier_format.diff import Difference, diff
from tests.fourier_format.samples import UNIFORM, adapter, changed, with_first_set

Change = Callable[[Adapter], Adapter]


def _reversed_rows(whole: Adapter) -> Adapter:
    first = whole.entry_sets[0]
    stored = _prints(whole)
    prints = changed(
        stored, samples=stored.samples[::-1], norm=stored.norm[::-1], sha256=stored.sha256[::-1]
    )
    targets = [changed(t, row=2 - t.row) if t.entries == first.id else t for t in whole.targets]
    turned = with_first_set(whole, coefficients=first.coefficients[::-1], fingerprints=prints)
    return changed(turned, targets=tuple(targets))


def _prints(whole: Adapter) -> Fingerprints:
    prints = whole.entry_sets[0].fingerprints
    assert prints is not None
    return prints


def _metadata(whole: Adapter) -> dict[str, Any]:
    return dict(whole.metadata or {})


def _permuted_entries(whole: Adapter) -> Adapter:
    first = whole.entry_sets[0]
    order = np.random.default_rng(1).permutation(first.count)
    return with_first_set(
        whole, entries=first.entries[order], coefficients=first.coefficients[:, order]
    )


def _renamed_set(whole: Adapter) -> Adapter:
    old = whole.entry_sets[0].id
    targets = [changed(t, entries="other") if t.entries == old else t for t in whole.targets]
    return changed(with_first_set(whole, id="other"), targets=tuple(targets))


def _split_set(whole: Adapter) -> Adapter:
    first, second = whole.entry_sets
    prints = _prints(whole)
    halves = [
        changed(
            first,
            id=f"half{i}",
            coefficients=first.coefficients[rows],
            fingerprints=changed(
                prints,
                samples=prints.samples[rows],
                norm=prints.norm[rows],
                sha256=prints.sha256[rows],
            ),
        )
        for i, rows in enumerate((slice(0, 1), slice(1, 3)))
    ]
    targets = [
        changed(t, entries=f"half{min(t.row, 1)}", row=max(0, t.row - 1))
        if t.entries == first.id
        else t
        for t in whole.targets
    ]
    return changed(whole, entry_sets=(*halves, second), targets=tuple(targets))


SAME: dict[str, Change] = {
    "order of targets": lambda a: changed(a, targets=a.targets[::-1]),
    "order of sets": lambda a: changed(a, entry_sets=a.entry_sets[::-1]),
    "order of rows": _reversed_rows,
    "order of entries": _permuted_entries,
    "name of a set": _renamed_set,
    "one set as two": _split_set,
    "order of replacements": lambda a: changed(
        a, replacements=dict(reversed(list(a.replacements.items())))
    ),
    "scale on each target": lambda a: changed(
        a, alpha=3.0, targets=tuple(changed(t, alpha=150.0) for t in a.targets)
    ),
    "seed on each set": lambda a: changed(
        a,
        seed=None,
        entry_sets=tuple(changed(s, sampling=changed(UNIFORM, seed=7)) for s in a.entry_sets),
    ),
    "order of keys": lambda a: changed(a, metadata=dict(reversed(_metadata(a).items()))),
    "1 and 1.0": lambda a: changed(a, metadata=_metadata(a) | {"epochs": 3.0}),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_nan_in_an_extensions_tensor_is_what_it_is(dtype: Any) -> None:
    def holding(*values: float) -> Adapter:
        return changed(adapter(), extension_tensors={"extensions/x/y": np.array(values, dtype)})

    assert diff(holding(np.nan, 1, np.inf), holding(np.nan, 1, np.inf)) == []
    (one,) = diff(holding(np.nan, 1, 2), holding(np.nan, np.nan, 3))
    assert one.detail is not None
    assert one.detail.startswith("2 of 3 differ")


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_what_is_only_stored_differently_is_no_difference(change: Change) -> None:
    assert diff(adapter(), change(adapter())) == []


def _edited_print(whole: Adapter, part: str) -> Adapter:
    prints = whole.entry_sets[0].fingerprints
    values = getattr(prints, part).copy()
    values[0] += 1
    return with_first_set(whole, fingerprints=changed(prints, **{part: values}))


def _edited_target(whole: Adapter, **fields: object) -> Adapter:
    first, *others = whole.targets
    return changed(whole, targets=(changed(first, **fields), *others))


UNKNOWN = {"x": {"must_understand": False, "level": 1}}
DIFFERENT: dict[str, tuple[Change, str]] = {
    "version": (lambda a: changed(a, version="1.1"), "version"),
    "alpha": (lambda a: changed(a, alpha=151.0), "alpha"),
    "alpha of one": (lambda a: _edited_target(a, alpha=1.0), "alpha"),
    "seed": (lambda a: changed(a, seed=8), "recipe.seed"),
    "method": (lambda a: with_first_set(a, sampling=Sampling(method="other")), "recipe.method"),
    "recipe": (lambda a: with_first_set(a, sampling=None), "recipe"),
    "parameters": (
        lambda a: with_first_set(a, sampling=changed(UNIFORM, parameters={"width": 2.0})),
        "recipe.parameters.width",
    ),
    "target_modules": (lambda a: changed(a, target_modules="query"), "target_modules"),
    "base_model": (lambda a: changed(a, base_model={"name": "other"}), "base_model.name"),
    "producer": (lambda a: changed(a, producer=None), "producer"),
    "labels": (lambda a: changed(a, labels=("dog", "cat")), "labels"),
    "origin": (lambda a: changed(a, origin={"format": "peft", "text": "{}"}), "origin"),
    "metadata": (lambda a: changed(a, metadata={**_metadata(a), "epochs": 4}), "metadata.epochs"),
    "1 and true": (
        lambda a: changed(a, metadata={**_metadata(a), "again": True}),
        "metadata.again",
    ),
    "null": (lambda a: changed(a, metadata={**_metadata(a), "new": None}), "metadata.new"),
    "name": (lambda a: _edited_target(a, name="renamed"), "target"),
    "kind": (lambda a: _edited_target(a, kind="einsum_dense"), "kind"),
    "target's extension": (
        lambda a: _edited_target(a, extensions=UNKNOWN),
        "target's extensions.x",
    ),
    "set's extension": (
        lambda a: with_first_set(a, extensions=UNKNOWN),
        "entry set's extensions.x",
    ),
    "extension": (lambda a: changed(a, extensions=UNKNOWN), "extensions.x"),
    "extension tensor": (
        lambda a: changed(a, extension_tensors={"extensions/x/y": np.ones(2)}),
        "extensions/x/y",
    ),
    "replacement": (lambda a: changed(a, replacements={}), "replacements/head.weight"),
    "value in a replacement": (
        lambda a: changed(
            a, replacements={**a.replacements, "head.bias": np.array([0, 0, 1, 0.0])}
        ),
        "replacements/head.bias",
    ),
    "shape of a replacement": (
        lambda a: changed(a, replacements={**a.replacements, "head.bias": np.zeros(5)}),
        "replacements/head.bias",
    ),
    "dtype of a replacement": (
        lambda a: changed(a, replacements={**a.replacements, "head.bias": np.zeros(4, np.int64)}),
        "replacements/head.bias, dtype",
    ),
    "dtype": (
        lambda a: with_first_set(
            a, coefficients=np.zeros_like(a.entry_sets[0].coefficients, ml_dtypes.bfloat16)
        ),
        "coefficients, dtype",
    ),
    "entries alone permuted": (
        lambda a: with_first_set(a, entries=a.entry_sets[0].entries[::-1]),
        "coefficients",
    ),
    "n": (
        lambda a: with_first_set(
            a,
            entries=a.entry_sets[0].entries[:5],
            coefficients=a.entry_sets[0].coefficients[:, :5],
        ),
        "n",
    ),
    "no fingerprint": (lambda a: with_first_set(a, fingerprints=None), "fingerprint"),
    "norm": (lambda a: _edited_print(a, "norm"), "fingerprint"),
    "digest": (lambda a: _edited_print(a, "sha256"), "fingerprint"),
    "samples": (lambda a: _edited_print(a, "samples"), "fingerprint"),
}


@pytest.mark.parametrize(("change", "where"), DIFFERENT.values(), ids=DIFFERENT)
def test_every_difference_in_meaning_is_found_from_both_sides(change: Change, where: str) -> None:
    a, b = adapter(), change(adapter())
    assert where in [one.where for one in diff(a, b)]
    assert where in [one.where for one in diff(b, a)]


def test_a_target_that_is_in_one_adapter_only_is_described() -> None:
    whole = adapter()
    fewer = changed(whole, targets=whole.targets[:3], entry_sets=whole.entry_sets[:1])
    (found,) = diff(whole, fewer)
    described = "linear 16 x 32, n = 12"
    names = ("layer.0.down", "layer.1.down")
    assert found == Difference("target", described, "absent", None, names)


def test_coefficients_that_differ_say_how_many_and_how_far() -> None:
    whole = adapter()
    coefficients = np.zeros_like(whole.entry_sets[0].coefficients)
    coefficients[0, 0] = 3
    zero_but_one = with_first_set(whole, coefficients=coefficients)
    coefficients = coefficients.copy()
    coefficients[0, 1] = 4
    (found,) = diff(zero_but_one, with_first_set(whole, coefficients=coefficients))
    assert found == Difference(
        "coefficients",
        "norm 3",
        "norm 5",
        "1 of 20 differ, by at most 4, in norm by 133.3%",
        ("layer.0.query",),
    )


@pytest.mark.parametrize("part", ["norm", "samples", "sha256"])
def test_fingerprints_that_differ_say_in_what(part: str) -> None:
    (found,) = diff(adapter(), _edited_print(adapter(), part))
    assert found.detail == f"another {part}"
    assert found.targets == ("layer.0.query",)


def test_entries_that_differ_are_counted_and_the_shared_ones_compared() -> None:
    whole = adapter()
    first = whole.entry_sets[0]
    fewer = with_first_set(
        whole, entries=first.entries[:15], coefficients=first.coefficients[:, :15]
    )
    found = {one.where: one for one in diff(whole, fewer)}
    assert set(found) == {"n", "entries"}
    assert str(found["entries"]).endswith("entries: 5 others -> 0 others (15 in both)")


def test_the_same_difference_of_many_targets_is_said_once() -> None:
    (found,) = diff(adapter(), changed(adapter(), alpha=300.0))
    assert len(found.targets) == 5
    names = "layer.0.query, layer.1.query, layer.2.query and 2 more"
    assert str(found) == f"{names}: alpha: 150 -> 300"


def test_long_texts_are_shown_where_they_part() -> None:
    text = "x" * 1000
    a = changed(adapter(), metadata={"log": text + "left" + text})
    b = changed(adapter(), metadata={"log": text + "right" + text})
    (found,) = diff(a, b)
    assert "left" in found.a
    assert "right" in found.b
    assert len(str(found)) < 200


def test_a_difference_is_one_line_whatever_the_names_hold() -> None:
    hostile = changed(adapter(), metadata={"\x1b[2J\n": 1, "note": "\u202e"})
    for one in diff(adapter(), hostile):
        assert str(one).isprintable()
