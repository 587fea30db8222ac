"""Names in a model, and which of them a user's words mean: suffixes of whole parts, or expressions.

Parts of a name stand between separators: "." in PyTorch, "/" in Keras.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from fourier_format.errors import TargetNotFoundError, UsageError, Violation

T = TypeVar("T")


class Naming(NamedTuple):
    """How a framework writes names.

    Attributes:
        separator: What stands between parts.
        listing: How a user sees all names, for advice.
    """

    separator: str
    listing: str

    def has_suffix(self, name: str, suffix: str) -> bool:
        """Whether a name ends in whole parts that are `suffix`."""
        return name == suffix or name.endswith(self.separator + suffix)

    def by_pattern(self, pattern: Mapping[str, T], name: str, usual: T) -> T:
        """Returns the value whose key is the longest suffix of `name`, or the usual one."""
        found = [key for key in pattern if self.has_suffix(name, key)]
        return pattern[max(found, key=len)] if found else usual

    def within(self, name: str, owners: Iterable[str]) -> bool:
        """Whether `name` is one of `owners`, or inside one."""
        parts, owners = name.split(self.separator), set(owners)
        return any(self.separator.join(parts[: k + 1]) in owners for k in range(len(parts)))

    def by_suffix(self, names: Sequence[str], suffix: str, where: str) -> list[str]:
        """Returns those of `names` that end in `suffix`.

        Raises:
            TargetNotFoundError: None does.
        """
        matched = [name for name in names if self.has_suffix(name, suffix)]
        if not matched:
            raise self.not_found(where, suffix, names)
        return matched

    def by_expression(self, names: Sequence[str], wanted: str, where: str) -> list[str]:
        """Returns those of `names` that a regular expression matches from end to end.

        Raises:
            UsageError: It is none.
            TargetNotFoundError: None does.
        """
        try:
            matched = [name for name in names if re.fullmatch(wanted, name)]
        except re.error as error:
            problem = f"not a regular expression: {error}"
            raise UsageError(Violation("E-USAGE", where, problem, wanted)) from None
        if not matched and any(self.has_suffix(name, wanted) for name in names):
            problem = "a string is a regular expression for whole names, and matches none"
            advice = f"for names that end so, give a tuple: ({wanted!r},)"
            raise TargetNotFoundError(
                Violation("E-TARGET-NOT-FOUND", where, problem, wanted, advice=advice)
            )
        if not matched:
            raise self.not_found(where, wanted, names)
        return matched

    def not_found(
        self,
        where: str,
        wanted: str,
        names: Sequence[str],
        problem: str = "no module of the model has this name",
    ) -> TargetNotFoundError:
        """Returns the error for a name that is `wanted`, with those of `names` that are near it."""
        endings = {name: name for name in names}
        endings |= {name.rpartition(self.separator)[2]: name for name in names}
        near = difflib.get_close_matches(wanted, endings, n=3)
        advice = f"did you mean {', '.join(near)}?" if near else f"see {self.listing} for names"
        return TargetNotFoundError(
            Violation("E-TARGET-NOT-FOUND", where, problem, wanted, advice=advice)
        )
