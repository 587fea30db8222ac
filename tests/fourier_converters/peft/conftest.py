"""The fixture `two`."""

from __future__ import annotations

import pytest

from fourier_format import Adapter
from tests.fourier_converters.adapters import without_prints
from tests.fourier_converters.graphs import weight


@pytest.fixture
def two() -> Adapter:
    """An adapter of two layers, as PEFT could have made it."""
    return without_prints({"a.query": weight(), "b.query": weight(4, 6)})
