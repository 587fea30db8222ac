"""Figures are drawn of any number."""

from __future__ import annotations

import pytest

from fourier_converters.html.figures import share_bar
from tests.fourier_converters.html.document import elements


@pytest.mark.parametrize(
    ("share", "width"),
    [(0.0, "0"), (0.5, "30"), (1.0, "60"), (float("inf"), "60"), (-1.0, "0"), (float("nan"), "0")],
)
def test_a_bar_is_as_long_as_its_share(share: float, width: str) -> None:
    (bar,) = [one for one in elements(share_bar(share)) if one.name == "rect"]

    assert bar.attributes["width"] == width
