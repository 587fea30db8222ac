"""The registered wavelets are the specification's, and are wavelets."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fourier_format.wavelets import LOW_PASS
from tests.fourier_format.transforms import reference

SOUND = [name for name in LOW_PASS if not name.endswith("-peft")]
LENGTH_BY_FAMILY = {"db": 2, "sym": 2, "coif": 6}


def test_the_table_is_the_specifications() -> None:
    assert {name: list(numbers) for name, numbers in LOW_PASS.items()} == reference.WAVELETS


@pytest.mark.parametrize("name", LOW_PASS)
def test_a_filter_is_as_long_as_its_name_says(name: str) -> None:
    found = re.fullmatch(r"(db|sym|coif)(\d+)(-peft)?", name)

    assert found
    assert len(LOW_PASS[name]) == LENGTH_BY_FAMILY[found[1]] * int(found[2])


@pytest.mark.parametrize("name", SOUND)
def test_a_filter_is_orthonormal_to_its_even_shifts(name: str) -> None:
    low = np.array(LOW_PASS[name])
    products = [float(low[2 * k :] @ low[: low.size - 2 * k]) for k in range(low.size // 2)]

    np.testing.assert_allclose(products, [1] + [0] * (low.size // 2 - 1), atol=1e-11)
    assert abs(low.sum() - np.sqrt(2)) < 1e-11


@pytest.mark.parametrize("name", SOUND)
def test_the_high_pass_filter_has_the_vanishing_moments_of_its_family(name: str) -> None:
    low = np.array(LOW_PASS[name])
    high = low[::-1] * (-1.0) ** np.arange(low.size)
    moments = int(re.sub(r"\D", "", name)) * (2 if name.startswith("coif") else 1)
    centred = (np.arange(low.size) - (low.size - 1) / 2) / low.size  # small, for the powers' sake

    for power in range(moments):
        assert abs(high @ centred**power) < 1e-10


def test_what_peft_calls_coif4_is_no_wavelet() -> None:
    """So it has a name of its own (spec/registry.md, table 1)."""
    low = np.array(LOW_PASS["coif4-peft"])

    assert abs(low @ low - 1) > 1e-3
    assert "coif4" not in LOW_PASS
