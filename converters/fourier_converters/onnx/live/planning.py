"""Which inputs a live graph gets, and what each adds where: adapters + matches -> a plan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from fourier_converters.onnx.branches import plan_branches
from fourier_converters.onnx.candidates import Candidate, Candidates
from fourier_converters.onnx.live.basis import Basis, basis
from fourier_converters.onnx.live.sites import Site, site_of
from fourier_converters.onnx.matching import Match, tolerance
from fourier_converters.onnx.merging import Edit
from fourier_converters.onnx.replacing import Replaced, placed
from fourier_format.adapter import Adapter, EntrySet
from fourier_format.errors import UnsupportedError, Violation
from fourier_format.fingerprint import frobenius_norm
from fourier_format.live.interface import (
    Bank,
    Interface,
    Parameter,
    Seat,
    entries_digest,
    input_name,
)

LARGEST_PARAMETER: Final = 2**20
"""Bytes of one replacement: a batch feeds one for each row, and a runtime holds one for each
adapter."""


@dataclass(frozen=True, slots=True, eq=False)
class Added:
    """One thing that an input adds to one site.

    Attributes:
        site: Where.
        input: The input's name.
        row: The target's row of a bank; None for a parameter.
        bias: Whether a parameter is a bias.
        turned: Whether a parameter is stored (in, out).
    """

    site: Site
    input: str
    row: int | None = None
    bias: bool = False
    turned: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class LivePlan:
    """Everything that is going to be done to a model.

    Attributes:
        interface: What the graph will say of itself.
        bases: The constants of each bank, by input.
        added: What is added where.
    """

    interface: Interface
    bases: Mapping[str, Basis]
    added: tuple[Added, ...]


def make_live_plan(
    adapters: Sequence[Adapter],
    matches: Sequence[Sequence[Match]],
    replaced: Sequence[Sequence[Replaced]],
    candidates: Candidates,
    *,
    static: bool,
) -> LivePlan:
    """Returns the plan for adapters whose targets were all found.

    Raises:
        UnsupportedError: E-CONVERSION-UNSUPPORTED: a target or replacement that no live graph
            serves, or adapters whose heads differ in shape.
    """
    banks, members = _banks(adapters, matches, candidates)
    added = [
        Added(site, bank.input, row)
        for bank, found in zip(banks, members, strict=True)
        for row, match in enumerate(found.matches)
        for site in _sites(match, candidates)
    ]
    parameters = list(_parameters(replaced, candidates))
    added += [one for _, places in parameters for one in places]
    interface = Interface(tuple(banks), tuple(p for p, _ in parameters), static)
    bases = {
        bank.input: basis(bank.transform, bank.shape, found.entries.entries)
        for bank, found in zip(banks, members, strict=True)
    }
    return LivePlan(interface, bases, tuple(added))


class _Members(NamedTuple):
    """Targets that share entries, by name, and one of the entry sets that have these."""

    entries: EntrySet
    matches: tuple[Match, ...]


def _banks(
    adapters: Sequence[Adapter], matches: Sequence[Sequence[Match]], candidates: Candidates
) -> tuple[list[Bank], list[_Members]]:
    """Returns the banks and their members, whatever the order of adapters and targets."""
    sets: dict[tuple[str, tuple[int, int], str], EntrySet] = {}
    targets: dict[tuple[str, tuple[int, int], str], dict[str, Match]] = defaultdict(dict)
    for adapter, found in zip(adapters, matches, strict=True):
        digests = {s.id: entries_digest(s.entries) for s in adapter.entry_sets}
        for match in found:
            entries = adapter.entry_set(match.target)
            key = (adapter.transform, entries.shape, digests[entries.id])
            sets.setdefault(key, entries)
            targets[key].setdefault(match.target.name, match)
    banks, members = [], []
    for (transform, shape, digest), named in targets.items():
        entries = sets[transform, shape, digest]
        own = _Members(entries, tuple(named[name] for name in sorted(named)))
        seats = tuple(_seat(match, candidates) for match in own.matches)
        bank = Bank("", transform, shape, entries.count, digest, seats)
        banks.append(replace(bank, input=input_name(entries.id, bank)))
        members.append(own)
    return banks, members


def _seat(match: Match, candidates: Candidates) -> Seat:
    first = match.uses[0]
    exact = first.use.quantized is None
    return Seat(
        match.target.name,
        match.target.kind,
        first.use.origin.dtype if exact else None,
        tolerance(first, candidates),
        candidates.samples(first),
        frobenius_norm(candidates.values(first)) if exact else None,
    )


def _sites(match: Match, candidates: Candidates) -> Iterator[Site]:
    target = match.target
    if target.kind in {"conv2d", "embedding"}:
        raise _unsupported(target.name, f"a live graph adapts linear layers, and no {target.kind}")
    for candidate in match.uses:
        yield _site(candidate, target.name, candidates)


def _site(candidate: Candidate, name: str, candidates: Candidates) -> Site:
    model = candidates.model
    if candidate.use.operator == "Attention":
        return site_of(model, candidate, name, None)
    edit = Edit(candidate, None, None)
    (branch,) = plan_branches([edit], model, name)
    return site_of(model, candidate, name, branch)


def _parameters(
    replaced: Sequence[Sequence[Replaced]],
    candidates: Candidates,
) -> Iterator[tuple[Parameter, list[Added]]]:
    """Yields the input of each replacement, and where it goes."""
    firsts: dict[str, Replaced] = {}
    for found in replaced:
        for one in found:
            first = firsts.setdefault(one.name, one)
            if first.values.shape != one.values.shape:
                shapes = f"{first.values.shape} and {one.values.shape}"
                raise _unsupported(one.name, f"adapters replace it in different shapes: {shapes}")
    for name, one in firsts.items():
        if 4 * one.values.size > LARGEST_PARAMETER:
            raise _unsupported(name, f"a replacement of {4 * one.values.size} bytes is too large")
        yield _parameter(name, one, candidates)


def _parameter(
    name: str, replaced: Replaced, candidates: Candidates
) -> tuple[Parameter, list[Added]]:
    first = replaced.uses[0]
    bias = replaced.added or first.use.role == "bias"
    linear = first.use.kind == "linear" and replaced.values.ndim == 2
    if not (bias and replaced.values.ndim == 1) and not (linear and not replaced.added):
        raise _unsupported(name, f"it is no weight or bias of a linear layer ({first})")
    if replaced.added:
        base = np.zeros(replaced.values.shape, np.float32)
    else:
        base = candidates.values(first).astype(np.float32)
    turned = not bias and _is_turned(name, replaced, first)
    base = base.T if turned else base
    input_ = f"fourier.{name}.difference"
    places = []
    for candidate in replaced.uses:
        site = (
            site_of(candidates.model, candidate, name, None)
            if candidate.use.operator == "Attention" or (bias and not replaced.added)
            else _site(candidate, name, candidates)
        )
        places.append(Added(site, input_, None, bias, turned))
    return Parameter(name, input_, np.ascontiguousarray(base)), places


def _is_turned(name: str, replaced: Replaced, candidate: Candidate) -> bool:
    """Whether the adapter stores a weight (in, out)."""
    numbers = np.arange(replaced.values.size).reshape(replaced.values.shape)
    matrix = placed(replace(replaced, values=numbers), candidate)
    if matrix is not None and np.array_equal(matrix, numbers):
        return False
    if matrix is None or not np.array_equal(matrix, numbers.T):
        raise _unsupported(name, f"it is stored neither (out, in) nor (in, out) ({candidate})")
    return True


def _unsupported(name: str, problem: str) -> UnsupportedError:
    advice = "merge this adapter (without --live), or serve it merged (`activate`)"
    return UnsupportedError(Violation("E-CONVERSION-UNSUPPORTED", name, problem, advice=advice))
