"""Adapter -> what it feeds a live graph, checked against the base that the graph holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from fourier_format.adapter import Adapter, Array, EntrySet, Target
from fourier_format.errors import (
    BaseMismatchError,
    FourierFormatError,
    UnsupportedError,
    Violation,
    raise_all,
)
from fourier_format.fingerprint import NORM_TOLERANCE, ROUNDED_NORM, agrees
from fourier_format.live.interface import Bank, Interface, Seat, entries_digest

_ADVICE: Final = (
    "make the live graph with this adapter among --adapters, or serve it merged (`activate`)"
)


class _Seated(NamedTuple):
    """A target with its place in the live graph."""

    target: Target
    entries: EntrySet
    bank: Bank
    row: int

    @property
    def seat(self) -> Seat:
        return self.bank.seats[self.row]


def fit(
    adapter: Adapter, interface: Interface, where: str, *, unverified: bool = False
) -> dict[str, Array]:
    """Returns what `adapter` feeds, by the input's name; inputs that it does not touch are absent.

    Of a bank (L, n) float32, alpha * c, zeros for targets that the adapter lacks; of a parameter
    its tensor minus the base's, float32.

    Args:
        adapter: The adapter.
        interface: What the graph says of itself.
        where: The adapter's name, for errors.
        unverified: Whether an adapter without fingerprints is taken all the same.

    Raises:
        UnsupportedError: E-LIVE-LAYOUT: the graph has no place for a target or replacement;
            E-NUMBER-NONFINITE: alpha * c is not finite in float32.
        BaseMismatchError: E-BASE-MISMATCH: the base is not the one that was trained on, or nothing
            says whether it is.
    """
    seated = _seat_targets(adapter, interface, where)
    _check_base(seated, where, unverified)
    values = _coefficients(adapter, seated, where)
    return values | _differences(adapter, interface, where)


def _seat_targets(adapter: Adapter, interface: Interface, where: str) -> list[_Seated]:
    banks = {(b.transform, b.shape, b.entries_sha256): b for b in interface.banks}
    seats = {id(b): {s.name: row for row, s in enumerate(b.seats)} for b in interface.banks}
    of_set = {
        s.id: banks.get((adapter.transform, s.shape, entries_digest(s.entries)))
        for s in adapter.entry_sets
    }
    seated, failures = [], []
    for target in adapter.targets:
        entries, bank = adapter.entry_set(target), of_set[target.entries]
        row = None if bank is None else seats[id(bank)].get(target.name)
        if bank is None:
            failures.append(_no_bank(adapter, target, where))
        elif row is None:
            failures.append(_no_seat(target, where))
        else:
            seated.append(_Seated(target, entries, bank, row))
    raise_all(failures)
    return seated


def _no_bank(adapter: Adapter, target: Target, where: str) -> FourierFormatError:
    out, in_ = target.shape
    problem = f"the live graph has no {adapter.transform} of {out}x{in_} with these entries"
    place = f"{where}, {target.name}"
    return UnsupportedError(Violation("E-LIVE-LAYOUT", place, problem, advice=_ADVICE))


def _no_seat(target: Target, where: str) -> FourierFormatError:
    problem = "the live graph was made without this target"
    place = f"{where}, {target.name}"
    return UnsupportedError(Violation("E-LIVE-LAYOUT", place, problem, advice=_ADVICE))


def _check_base(seated: list[_Seated], where: str, unverified: bool) -> None:
    found = list(_mismatches(seated, where, unverified))
    if found:
        raise BaseMismatchError(found)


def _mismatches(seated: list[_Seated], where: str, unverified: bool) -> Iterator[Violation]:
    for place in seated:
        prints, seat = place.entries.fingerprints, place.seat
        name = f"{where}, {place.target.name}"
        if prints is None:
            if not unverified:
                problem = "the adapter has no fingerprint, and its base cannot be verified"
                advice = "make the .fft with --base, or allow unverified adapters"
                yield Violation("E-BASE-MISMATCH", name, problem, advice=advice)
                return
            continue
        expected = prints.samples[place.target.row]  # (32,)
        if not _has_samples(seat, expected):
            problem = "the live graph's base is not the one that the adapter was trained on"
            yield Violation("E-BASE-MISMATCH", name, problem)
            continue
        norm = float(prints.norm[place.target.row])
        if seat.dtype is not None and seat.norm is not None:
            same = prints.dtype == seat.dtype
            tolerance = NORM_TOLERANCE if same else ROUNDED_NORM[seat.dtype]
            if not math.isclose(seat.norm, norm, rel_tol=tolerance):
                problem = "the base's weight has another norm than the one that was trained on"
                got, wanted = f"{seat.norm:.9g}", f"{norm:.9g}"
                yield Violation("E-BASE-MISMATCH", name, problem, got, wanted)


def _has_samples(seat: Seat, expected: Array) -> bool:
    if seat.dtype is not None:
        return agrees(expected, seat.samples, seat.dtype)
    error = float(np.linalg.norm(expected - seat.samples))
    return error <= seat.tolerance * float(np.linalg.norm(expected))


def _coefficients(adapter: Adapter, seated: list[_Seated], where: str) -> dict[str, Array]:
    values: dict[str, Array] = {}
    for place in seated:
        bank = place.bank
        if bank.input not in values:
            values[bank.input] = np.zeros(bank.layout, np.float32)
        stored = place.entries.coefficients[place.target.row].astype(np.float64)  # (n,)
        with np.errstate(over="ignore"):
            values[bank.input][place.row] = stored * adapter.alpha_of(place.target)
    for fed in values.values():
        if not np.isfinite(fed).all():
            problem = "alpha times a coefficient is not finite in float32"
            raise UnsupportedError(Violation("E-NUMBER-NONFINITE", where, problem))
    return values


def _differences(adapter: Adapter, interface: Interface, where: str) -> dict[str, Array]:
    parameters = {parameter.name: parameter for parameter in interface.parameters}
    values, failures = {}, []
    for name, tensor in adapter.replacements.items():
        parameter = parameters.get(name)
        if parameter is None or parameter.layout != tensor.shape:
            got = None if parameter is None else f"{tensor.shape} in the adapter"
            expected = None if parameter is None else f"{parameter.layout} in the graph"
            problem = "the live graph has no place for this trained tensor"
            violation = Violation(
                "E-LIVE-LAYOUT", f"{where}, {name}", problem, got, expected, _ADVICE
            )
            failures.append(UnsupportedError(violation))
            continue
        wide = tensor.astype(np.float64) - parameter.base.astype(np.float64)
        values[parameter.input] = wide.astype(np.float32)
    raise_all(failures)
    return values
