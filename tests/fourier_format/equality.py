"""When two adapters are the same: every field, and every array bit for bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


def assert_same(got: Any, expected: Any, where: str = "adapter") -> None:
    """Compare records, mappings, sequences, arrays or plain values, and say where they differ."""
    if dataclasses.is_dataclass(expected):
        assert type(got) is type(expected), where
        for field in dataclasses.fields(expected):
            name = field.name
            assert_same(getattr(got, name), getattr(expected, name), f"{where}.{name}")
    elif isinstance(expected, np.ndarray):
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape), where
        assert got.tobytes() == expected.tobytes(), where
    elif isinstance(expected, Mapping):
        assert list(got) == list(expected), where
        for key, value in expected.items():
            assert_same(got[key], value, f"{where}[{key!r}]")
    elif isinstance(expected, tuple | list):
        assert len(got) == len(expected), where
        for index, value in enumerate(expected):
            assert_same(got[index], value, f"{where}[{index}]")
    else:
        assert (type(got), got) == (type(expected), expected), where
