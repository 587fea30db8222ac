"""What is finite, asked by bits, is what NumPy says is finite."""

from __future__ import annotations

import numpy as np
import pytest

from fourier_format.dtypes import DTYPES, all_finite


@pytest.mark.parametrize("name", ["F16", "BF16"])
def test_every_half_precision_value_is_told_from_infinities_and_nan(name: str) -> None:
    values = np.arange(2**16, dtype=np.uint16).view(DTYPES[name])
    finite = np.isfinite(values.astype(np.float32))

    assert all_finite(values[finite])
    assert not any(all_finite(values[place : place + 1]) for place in np.flatnonzero(~finite))


@pytest.mark.parametrize("name", ["F16", "BF16", "F32", "F64"])
def test_one_wrong_value_is_enough(name: str) -> None:
    values = np.zeros((3, 5), DTYPES[name])
    assert all_finite(values)
    assert all_finite(values[:0])
    for wrong in (np.inf, -np.inf, np.nan):
        values[1, 3] = wrong
        assert not all_finite(values)
        assert not all_finite(values.T)
