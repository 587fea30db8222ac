"""The one way to write a number: 150, 150.0 and NumPy's own give the same bytes.

What is no number stays as it is, for the rules to refuse.
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

from fourier_format import limits


def number(value: Any) -> Any:
    """Returns a number as a float; an integer too large for JSON as an int."""
    if not _is_number(value):
        return value
    if isinstance(value, Integral) and abs(int(value)) > limits.MAX_SAFE_INTEGER:
        return int(value)
    return float(value)


def whole(value: Any) -> Any:
    """Returns a whole number as an int."""
    if not _is_number(value):
        return value
    return int(value) if isinstance(value, Integral) or float(value).is_integer() else value


def seed(value: Any) -> Any:
    """Returns a seed as an int; as text where readers would round it."""
    found = whole(value)
    return str(found) if _is_number(found) and found > limits.MAX_SAFE_INTEGER else found


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
