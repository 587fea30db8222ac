"""Replacements in bases of whole tensors: what checkpoints and Keras files have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fourier_converters.mapping import Map
from fourier_format.adapter import Adapter, Array
from fourier_format.errors import FourierFormatError, TargetNotFoundError, Violation, raise_all


@dataclass(frozen=True, slots=True, eq=False)
class Replaced:
    """Where one replacement goes.

    Attributes:
        name: Its name in the adapter.
        tensor: The tensor's name in the result.
        values: Its values, as they are stored.
        dtype: The dtype in the result: the base's, or its own where it is added.
        evidence: What was done, and what says so.
        added: Whether the base lacks the tensor.
        reshaped: Whether the base's tensor has another shape.
    """

    name: str
    tensor: str
    values: Array
    dtype: str
    evidence: str
    added: bool = False
    reshaped: bool = False


def replace_each(
    adapter: Adapter,
    mapping: Map,
    find: Callable[[str, Array], Replaced],
    wrong: Callable[[Sequence[Replaced]], Iterator[Violation]],
) -> list[Replaced]:
    """Returns where every replacement goes that the map does not skip.

    Args:
        adapter: The adapter.
        mapping: The map file.
        find: Gives where one goes, by its name and values.
        wrong: Yields what is wrong with all of them together.

    Raises:
        TargetNotFoundError: E-USE-CLAIMED, what `find` raised or `wrong` gave, for all at once.
    """
    found, failures = list[Replaced](), list[FourierFormatError]()
    for name, values in adapter.replacements.items():
        if mapping.replacement(name).skip:
            continue
        try:
            found.append(find(name, values))
        except FourierFormatError as error:
            failures.append(error)
    raise_all(failures)
    violations = [*_claimed_twice(found), *wrong(found)]
    if violations:
        raise TargetNotFoundError(violations)
    return found


def _claimed_twice(found: Sequence[Replaced]) -> Iterator[Violation]:
    owners: dict[str, str] = {}
    for replaced in found:
        owner = owners.setdefault(replaced.tensor, replaced.name)
        if owner != replaced.name:
            problem = f"{replaced.tensor!r} is claimed by {owner} too"
            yield Violation("E-USE-CLAIMED", replaced.name, problem)
