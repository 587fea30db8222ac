"""Figures are drawn of any number."""

from __future__ import annotations

import numpy as np
import pytest

from fourier_converters.html.figures import histogram, share_bar
from tests.fourier_converters.html.document import elements


@pytest.mark.parametrize(
    ("share", "width"),
    [(0.0, "0"), (0.5, "30"), (1.0, "60"), (float("inf"), "60"), (-1.0, "0"), (float("nan"), "0")],
)
def test_a_bar_is_as_long_as_its_share(share: float, width: str) -> None:
    (bar,) = [one for one in elements(share_bar(share)) if one.name == "rect"]

    assert bar.attributes["width"] == width


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("unit", [5e-324, 1e-310, 1.0, 1e300, 5e307])
@pytest.mark.parametrize("sizes", [(1, 2, 3), (1, 1, 1), (0, 1, 3), (0, 0, 0), (0.001, 1, 3)])
def test_a_histogram_is_drawn_of_numbers_of_any_size(unit: float, sizes: tuple[float, ...]) -> None:
    values = [unit * size for size in sizes * 20]

    found = elements(histogram(values, "norm", "norms"))

    bars = [one for one in found if one.attributes.get("class") == "bar"]
    numbers = [float(one.text) for one in found if one.name == "text" and one.text[-1].isdigit()]
    assert len(bars) == 7
    if len(set(values)) > 1 and unit > 1e-300:
        assert np.allclose(numbers[:2], [min(values), max(values)], rtol=0.05)
