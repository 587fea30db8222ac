"""Adapter -> what it feeds a live graph, checked against the base that the graph holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from fourier_format.adapter import Adapter, Array, EntrySet, Fingerprints, Target
from fourier_format.errors import (
    BaseMismatchError,
    FourierFormatError,
    UnsupportedError,
    Violation,
    raise_all,
)
from fourier_format.fingerprint import disagreement, row_of, rows_of
from fourier_format.live.interface import Bank, Interface, Seat, entries_digest

_ADVICE: Final = (
    "make the live graph with this adapter among --adapters, or serve it merged (`activate`)"
)


class _Chairs:
    """A bank with what its seats say, as arrays by row."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.rows = {seat.name: row for row, seat in enumerate(bank.seats)}
        self.samples = np.stack([seat.samples for seat in bank.seats])  # (L, 32)
        self.tolerances = np.array([seat.tolerance for seat in bank.seats], np.float64)  # (L,)
        self.dtypes = {seat.dtype for seat in bank.seats}
        norms = [math.nan if seat.norm is None else seat.norm for seat in bank.seats]
        self.norms = np.array(norms, np.float64)  # (L,), NaN where none is known

    def hold(self, prints: Fingerprints, rows: list[int], seats: list[int]) -> bool:
        """Whether the base's weights in `seats` are plainly those of the fingerprint's `rows`."""
        if len(self.dtypes) != 1:
            return False
        (dtype,) = self.dtypes
        expected, found = prints.samples[rows], self.samples[seats]  # (T, 32)
        if dtype is None:
            errors = np.linalg.norm(expected - found, axis=1)  # (T,)
            return bool((errors <= self.tolerances[seats] * np.linalg.norm(expected, axis=1)).all())
        norms = self.norms[seats]  # (T,)
        return disagreement(rows_of(prints, rows), dtype, found, lambda: norms) is None


class _Seated(NamedTuple):
    """Targets of one entry set that have their places in one bank.

    Attributes:
        entries: Their entry set.
        chairs: Their bank.
        targets: The targets.
        rows: Their rows in the entry set's coefficients.
        seats: Their rows in the bank.
    """

    entries: EntrySet
    chairs: _Chairs
    targets: list[Target]
    rows: list[int]
    seats: list[int]


class Fitter:
    """Fits many adapters to one interface: what one of them needs is looked up, not built anew."""

    def __init__(self, interface: Interface) -> None:
        """Takes what the graph says of itself."""
        self.interface = interface
        self._chairs = {
            (b.transform, b.shape, b.entries_sha256): _Chairs(b) for b in interface.banks
        }
        self._seen: dict[tuple[str, tuple[int, int]], tuple[Array, _Chairs]] = {}

    def fit(self, adapter: Adapter, where: str, *, unverified: bool = False) -> dict[str, Array]:
        """Returns what `adapter` feeds; as `fit`, and raises as it does."""
        seated = self._seat(adapter, where)
        found = list(_mismatches(seated, where, unverified))
        if found:
            raise BaseMismatchError(found)
        values = _coefficients(adapter, seated, where)
        return values | _differences(adapter, self.interface, where)

    def _find(self, transform: str, entry_set: EntrySet) -> _Chairs | None:
        """Returns the bank of an entry set; entries as they were last time are not hashed again."""
        place = (transform, entry_set.shape)
        seen = self._seen.get(place)
        if seen is not None and np.array_equal(seen[0], entry_set.entries):
            return seen[1]
        chairs = self._chairs.get((*place, entries_digest(entry_set.entries)))
        if chairs is not None:
            self._seen[place] = entry_set.entries, chairs
        return chairs

    def _seat(self, adapter: Adapter, where: str) -> list[_Seated]:
        of_set: dict[str, _Seated | None] = {}
        for s in adapter.entry_sets:
            chairs = self._find(adapter.transform, s)
            of_set[s.id] = None if chairs is None else _Seated(s, chairs, [], [], [])
        failures = []
        for target in adapter.targets:
            place = of_set[target.entries]
            if place is None:
                failures.append(_no_bank(adapter, target, where))
                continue
            seat = place.chairs.rows.get(target.name)
            if seat is None:
                failures.append(_no_seat(target, where))
                continue
            place.targets.append(target)
            place.rows.append(target.row)
            place.seats.append(seat)
        raise_all(failures)
        return [place for place in of_set.values() if place is not None and place.targets]


def fit(
    adapter: Adapter, interface: Interface, where: str, *, unverified: bool = False
) -> dict[str, Array]:
    """Returns what `adapter` feeds, by the input's name; inputs that it does not touch are absent.

    Of a bank (L, n) float32, alpha * c, zeros for targets that the adapter lacks; of a parameter
    its tensor minus the base's, float32. For many adapters, keep a `Fitter`.

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
    return Fitter(interface).fit(adapter, where, unverified=unverified)


def refuse_unverifiable(adapter: Adapter, where: str) -> None:
    """Refuse an adapter of which nothing says on which base it was trained.

    Args:
        adapter: The adapter.
        where: Its name, for errors.

    Raises:
        BaseMismatchError: It has targets without fingerprints.
    """
    for target in adapter.targets:
        if adapter.entry_set(target).fingerprints is None:
            raise BaseMismatchError(_no_print(f"{where}, {target.name}"))


def _no_print(name: str) -> Violation:
    problem = "the adapter has no fingerprint, and its base cannot be verified"
    advice = "make the .fft with --base, or allow unverified adapters"
    return Violation("E-BASE-MISMATCH", name, problem, advice=advice)


def _no_bank(adapter: Adapter, target: Target, where: str) -> FourierFormatError:
    out, in_ = target.shape
    problem = f"the live graph has no {adapter.transform} of {out}x{in_} with these entries"
    place = f"{where}, {target.name}"
    return UnsupportedError(Violation("E-LIVE-LAYOUT", place, problem, advice=_ADVICE))


def _no_seat(target: Target, where: str) -> FourierFormatError:
    problem = "the live graph was made without this target"
    place = f"{where}, {target.name}"
    return UnsupportedError(Violation("E-LIVE-LAYOUT", place, problem, advice=_ADVICE))


def _mismatches(seated: list[_Seated], where: str, unverified: bool) -> Iterator[Violation]:
    for place in seated:
        prints = place.entries.fingerprints
        if prints is None:
            if not unverified:
                yield _no_print(f"{where}, {place.targets[0].name}")
                return
        elif not place.chairs.hold(prints, place.rows, place.seats):
            for target, row in zip(place.targets, place.seats, strict=True):
                seat = place.chairs.bank.seats[row]
                yield from _mismatch(prints, target, seat, f"{where}, {target.name}")


def _mismatch(prints: Fingerprints, target: Target, seat: Seat, name: str) -> Iterator[Violation]:
    expected = row_of(prints, target.row)
    norm = math.nan if seat.norm is None else seat.norm
    if seat.dtype is None:
        error = float(np.linalg.norm(expected.samples - seat.samples))
        near = error <= seat.tolerance * float(np.linalg.norm(expected.samples))
        part = None if near else "samples"
    else:
        part = disagreement(expected, seat.dtype, seat.samples, lambda: norm)
    if part == "samples":
        problem = "the live graph's base is not the one that the adapter was trained on"
        yield Violation("E-BASE-MISMATCH", name, problem)
    elif part == "norm":
        problem = "the base's weight has another norm than the one that was trained on"
        yield Violation("E-BASE-MISMATCH", name, problem, f"{norm:.9g}", f"{expected.norm:.9g}")


def _coefficients(adapter: Adapter, seated: list[_Seated], where: str) -> dict[str, Array]:
    values: dict[str, Array] = {}
    for place in seated:
        bank = place.chairs.bank
        fed = values.get(bank.input)
        if fed is None:
            fed = values[bank.input] = np.zeros(bank.layout, np.float32)
        alphas = np.array([adapter.alpha_of(target) for target in place.targets])  # (T,)
        stored = place.entries.coefficients[place.rows]  # (T, n)
        with np.errstate(over="ignore"):
            fed[place.seats] = stored.astype(np.float64) * alphas[:, None]
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
