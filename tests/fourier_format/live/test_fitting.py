"""An adapter feeds a live graph alpha times its coefficients, and only one of its own base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fourier_format import Adapter, EntrySet, Fingerprints, Target
from fourier_format.adapter import Array
from fourier_format.errors import BaseMismatchError, FourierFormatError, UnsupportedError
from fourier_format.fingerprint import fingerprint, stack
from fourier_format.live import Bank, Fitter, Interface, Parameter, Seat, fit
from fourier_format.live.interface import entries_digest

SHAPE, N, NAMES = (6, 10), 7, ("a.q", "a.v", "b.q", "b.v")
RNG = np.random.default_rng(0)
WEIGHTS = {name: RNG.standard_normal(SHAPE).astype(np.float32) for name in NAMES}
CELLS = RNG.choice(60, N, replace=False)
ENTRIES = np.stack([CELLS // 10, CELLS % 10], axis=1).astype(np.int32)
COEFFICIENTS = RNG.standard_normal((4, N)).astype(np.float32)


def prints(names: Sequence[str] = NAMES, dtype: Any = np.float32) -> Fingerprints:
    return stack([fingerprint(WEIGHTS[name].astype(dtype), name) for name in names])


def entry_set(id_: str = "s", names: Sequence[str] = NAMES, dtype: Any = np.float32) -> EntrySet:
    rows = [NAMES.index(name) for name in names]
    return EntrySet(
        id=id_,
        shape=SHAPE,
        entries=ENTRIES,
        coefficients=COEFFICIENTS[rows].astype(dtype),
        fingerprints=prints(names),
    )


def targets(id_: str = "s", names: Sequence[str] = NAMES) -> tuple[Target, ...]:
    return tuple(
        Target(name=name, kind="linear", shape=SHAPE, entries=id_, row=row)
        for row, name in enumerate(names)
    )


def adapter(**fields: Any) -> Adapter:
    return Adapter(alpha=2.5, entry_sets=(entry_set(),), targets=targets(), **fields)


def seat(name: str, dtype: Any = np.float32) -> Seat:
    found = fingerprint(WEIGHTS[name].astype(dtype), name)
    return Seat(name, "linear", found.dtype, 0.0, found.samples, found.norm)


def interface(seats: Sequence[Seat] | None = None, **fields: Any) -> Interface:
    seats = [seat(name) for name in NAMES] if seats is None else seats
    bank = Bank("c", "dft2", SHAPE, N, entries_digest(ENTRIES), tuple(seats))
    return Interface((bank,), **fields)


def with_prints(edit: Callable[[Array, Array], object], dtype: Any = np.float32) -> Adapter:
    """Returns the adapter with its fingerprints' samples and norms changed in place."""
    found = prints(dtype=dtype)
    samples, norm = found.samples.copy(), found.norm.copy()
    edit(samples, norm)
    changed = replace(found, samples=samples, norm=norm)
    return replace(adapter(), entry_sets=(replace(entry_set(), fingerprints=changed),))


def refused(kind: type[FourierFormatError], given: Adapter, to: Interface) -> list[str]:
    """Returns the places of the error's violations."""
    with pytest.raises(kind) as caught:
        fit(given, to, "x")
    return [violation.where for violation in caught.value.violations]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_each_seat_is_fed_alpha_times_its_targets_coefficients_rounded_once(dtype: Any) -> None:
    names = ("b.q", "a.v", "a.q")  # neither all of them nor in the bank's order
    found = targets(names=names)
    found = (found[2], replace(found[0], alpha=-0.3), found[1])
    given = Adapter(alpha=0.7, entry_sets=(entry_set("s", names, dtype),), targets=found)

    fed = fit(given, interface(), "x")

    wide = COEFFICIENTS.astype(dtype).astype(np.float64)
    wide *= np.array([0.7, 0.7, -0.3, 0.0])[:, None]
    assert list(fed) == ["c"]
    np.testing.assert_array_equal(fed["c"], wide.astype(np.float32), strict=True)


def test_sets_of_the_same_entries_fill_one_bank() -> None:
    halves = (NAMES[:2], NAMES[2:])
    given = Adapter(
        alpha=2.5,
        entry_sets=tuple(entry_set(f"s{k}", names) for k, names in enumerate(halves)),
        targets=tuple(t for k, names in enumerate(halves) for t in targets(f"s{k}", names)),
    )

    fed = fit(given, interface(), "x")

    np.testing.assert_array_equal(fed["c"], COEFFICIENTS * np.float32(2.5), strict=True)


def test_a_fitter_fits_one_adapter_after_another() -> None:
    fitter = Fitter(interface())
    twice = replace(adapter(), alpha=5.0)

    first, second = fitter.fit(adapter(), "x"), fitter.fit(twice, "y")

    np.testing.assert_array_equal(first["c"] * 2, second["c"])


def test_a_fitter_sees_that_entries_are_other_ones_than_last_time() -> None:
    other = ENTRIES[::-1]
    bank = replace(interface().banks[0], input="d", entries_sha256=entries_digest(other))
    fitter = Fitter(Interface((*interface().banks, bank)))
    turned = replace(adapter(), entry_sets=(replace(entry_set(), entries=other),))
    strange = replace(adapter(), entry_sets=(replace(entry_set(), entries=ENTRIES + 1),))

    found = [list(fitter.fit(given, "x")) for given in (adapter(), turned, turned, adapter())]

    assert found == [["c"], ["d"], ["d"], ["c"]]
    with pytest.raises(UnsupportedError):
        fitter.fit(strange, "x")


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("position", [0, 31])
def test_a_target_whose_samples_are_another_weights_is_named(row: int, position: int) -> None:
    def edit(samples: Array, _: Array) -> None:
        samples[row, position] = np.nextafter(samples[row, position], np.float32(9))

    assert refused(BaseMismatchError, with_prints(edit), interface()) == [f"x, {NAMES[row]}"]


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("factor", [1 + 1e-8, 1 - 1e-8, 0.0])
def test_a_target_whose_norm_is_another_weights_is_named(row: int, factor: float) -> None:
    def edit(_: Array, norm: Array) -> None:
        norm[row] *= factor

    assert refused(BaseMismatchError, with_prints(edit), interface()) == [f"x, {NAMES[row]}"]


def test_norms_that_were_summed_in_another_order_are_the_same() -> None:
    def edit(_: Array, norm: Array) -> None:
        norm *= 1 + 5e-10

    assert fit(with_prints(edit), interface(), "x").keys() == {"c"}


def test_every_target_of_another_base_is_named() -> None:
    others = [seat(name) for name in NAMES]
    others[1], others[2] = replace_seat(others[1], others[3]), replace_seat(others[2], others[0])

    found = refused(BaseMismatchError, adapter(), interface(others))

    assert found == ["x, a.v", "x, b.q"]


def replace_seat(of: Seat, weight: Seat) -> Seat:
    return replace(weight, name=of.name)


@pytest.mark.parametrize("kinds", [[np.float16] * 4, [np.float32, np.float16] * 2])
def test_a_base_that_was_rounded_to_half_precision_is_the_same_base(kinds: list[Any]) -> None:
    rounded = [seat(name, kind) for name, kind in zip(NAMES, kinds, strict=True)]

    assert fit(adapter(), interface(rounded), "x").keys() == {"c"}

    rounded[1] = replace(rounded[1], samples=seat("b.v", np.float16).samples)
    assert refused(BaseMismatchError, adapter(), interface(rounded)) == ["x, a.v"]


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_a_quantised_base_is_as_near_as_its_quantising_explains(share: float) -> None:
    quantised = []
    for name in NAMES:
        exact = seat(name)
        error = RNG.standard_normal(32)
        size = np.linalg.norm(exact.samples) * (0.05 * share if name == "b.q" else 0.01)
        samples = exact.samples + (error * (size / np.linalg.norm(error))).astype(np.float32)
        quantised.append(Seat(name, "linear", None, 0.05, samples, None))

    if share < 1:
        assert fit(adapter(), interface(quantised), "x").keys() == {"c"}
    else:
        assert refused(BaseMismatchError, adapter(), interface(quantised)) == ["x, b.q"]


def test_an_adapter_without_fingerprints_is_taken_only_unverified() -> None:
    bare = replace(adapter(), entry_sets=(replace(entry_set(), fingerprints=None),))

    assert refused(BaseMismatchError, bare, interface()) == ["x, a.q"]
    assert fit(bare, interface(), "x", unverified=True).keys() == {"c"}


def test_a_wrong_base_is_refused_even_where_unverified_adapters_are_taken() -> None:
    def edit(samples: Array, _: Array) -> None:
        samples[0, 0] += 1

    with pytest.raises(BaseMismatchError):
        fit(with_prints(edit), interface(), "x", unverified=True)


def test_targets_without_a_place_are_all_named() -> None:
    fewer = interface([seat(name) for name in NAMES[:2]])
    turned = replace(entry_set(), entries=ENTRIES[::-1])

    assert refused(UnsupportedError, adapter(), fewer) == ["x, b.q", "x, b.v"]
    every = [f"x, {name}" for name in NAMES]
    assert refused(UnsupportedError, replace(adapter(), entry_sets=(turned,)), fewer) == every
    assert refused(UnsupportedError, adapter(transform="dct2"), interface()) == every


def test_a_product_beyond_float32_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        fit(replace(adapter(), alpha=1e39), interface(), "x")

    assert caught.value.code == "E-NUMBER-NONFINITE"


def test_a_trained_tensor_is_fed_as_its_difference_from_the_bases() -> None:
    base = np.array([1.0, 2.0, -4.0], np.float32)
    tensor = np.array([1.5, 2.0, 4.0], ml_dtypes.bfloat16)
    to = interface(parameters=(Parameter("head", "d", base),))

    fed = fit(adapter(replacements={"head": tensor}), to, "x")

    expected = np.array([0.5, 0.0, 8.0], np.float32)
    np.testing.assert_array_equal(fed["d"], expected, strict=True)
    assert fit(adapter(), to, "x").keys() == {"c"}


def test_a_trained_tensor_without_a_place_of_its_shape_is_named() -> None:
    to = interface(parameters=(Parameter("head", "d", np.zeros(3, np.float32)),))
    given = adapter(replacements={"head": np.zeros(4), "tail": np.zeros(3)})

    assert refused(UnsupportedError, given, to) == ["x, head", "x, tail"]


def test_targets_that_exchanged_their_names_are_not_of_this_base() -> None:
    found = targets()
    names = ("a.v", "a.q", "b.q", "b.v")
    turned = tuple(replace(t, name=name) for t, name in zip(found, names, strict=True))

    assert refused(BaseMismatchError, replace(adapter(), targets=turned), interface()) == [
        "x, a.v",
        "x, a.q",
    ]
