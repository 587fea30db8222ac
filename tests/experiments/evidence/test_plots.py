from __future__ import annotations

import io
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from experiments.evidence.blocks import LORA, Figure, Level, Line, Panel, Points
from experiments.evidence.plots import digest, drawn

FIGURE = Figure(
    "a-small",
    "Two panels.",
    (
        Panel("A", "n", "accuracy (%)", (Line("one", (1, 10), (2, 3), (1, 2), (3, 4)),), True),
        Panel(
            "B",
            "task",
            "points",
            (
                Points("two", (0, 1), (1, 2), (0.5, 1.5), (1.5, 2.5), ((1.0, 1.2), (2.0,)), LORA),
                Points("three", (0, 1), (1.5, 2)),
                Level("aim", -2.0),
            ),
            categories=("mrpc", "stsb"),
        ),
    ),
)


def test_the_same_figure_gives_the_same_bytes_whatever_matplotlib_is_set_to() -> None:
    first = drawn(FIGURE)
    with mpl.rc_context({"font.size": 20, "savefig.dpi": 30, "axes.facecolor": "black"}):
        assert drawn(FIGURE) == first


def test_a_picture_carries_its_digest_and_nothing_of_the_machine() -> None:
    with Image.open(io.BytesIO(drawn(FIGURE))) as picture:
        assert picture.info["digest"] == digest(FIGURE)
        assert picture.info.keys() <= {"digest", "dpi"}


def test_another_number_is_another_digest_and_the_last_bit_is_not() -> None:
    def with_level(y: float) -> Figure:
        return replace(FIGURE, panels=(replace(FIGURE.panels[1], marks=(Level("aim", y),)),))

    assert digest(with_level(0.1)) != digest(with_level(0.1001))
    assert digest(with_level(0.3)) == digest(with_level(0.1 + 0.2))


@pytest.mark.parametrize("panel", FIGURE.panels, ids=["lines", "points"])
def test_every_mark_is_seen_in_the_picture(panel: Panel) -> None:
    def pixels(figure: Figure) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(drawn(figure))).convert("RGB"))

    whole = replace(FIGURE, panels=(panel,))
    for mark in panel.marks:
        fewer = replace(panel, marks=tuple(other for other in panel.marks if other is not mark))
        less = pixels(replace(FIGURE, panels=(fewer,)))
        assert not np.array_equal(pixels(whole), less)
