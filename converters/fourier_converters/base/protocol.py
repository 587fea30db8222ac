"""What a PEFT import needs to know of a base: the canonical matrix behind a module's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fourier_format.adapter import Array


@dataclass(frozen=True, slots=True, eq=False)
class BaseWeight:
    """A weight found in a base.

    Attributes:
        matrix: (out, in) canonical matrix, a view of the base's data.
        source: Where it lies, in words.
    """

    matrix: Array
    source: str


class Base(Protocol):
    """A base model's weights by module name."""

    @property
    def description(self) -> dict[str, str]:
        """Returns what is known of the base, for the manifest's `base_model`."""

    def weight(self, module: str, saved: Array | None = None) -> BaseWeight:
        """Returns the weight of the linear layer `module`.

        Args:
            module: Its path.
            saved: The weight as the adapter's checkpoint holds it: PEFT saves tied ones.

        Raises:
            TargetNotFoundError: It is not there, or not uniquely.
            UnsupportedError: Nothing says how the base stores it.
        """
