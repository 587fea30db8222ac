from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas
from PIL import Image

from experiments.evidence import plots
from experiments.evidence.blocks import FOURIER, LORA, Figure, Level, Line, Panel, Points
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


MARKS: dict[str, Line | Points | Level] = {
    "line": Line("", (1, 2, 3), (1, 2, 1), colour=LORA),
    "band": Line("", (1, 2, 3), (1, 2, 1), (0.5, 1, 0.5), (2, 3, 2), LORA),
    "means": Points("", (1, 2), (1, 2), colour=LORA),
    "bars": Points("", (1, 2), (1, 2), (0.5, 1.5), (1.5, 2.5), colour=LORA),
    "dots": Points("", (1, 2), (1, 2), dots=((1.5, 0.5), (2.5,)), colour=LORA),
    "joined": Points("", (1, 2), (1, 2), colour=LORA, joined=True),
    "level": Level("", 1.5),
}


def pixels(mark: Line | Points | Level, colour: str) -> int:
    """Returns how many pixels between fixed axes, without any legend, are close to a colour."""
    canvas = Canvas()
    axis = canvas.add_axes((0, 0, 1, 1), xlim=(0, 4), ylim=(0, 4), autoscale_on=False)
    plots.draw(axis, Panel("", "", "", (mark,)))
    axis.set(xlim=(0, 4), ylim=(0, 4))
    axis.set_axis_off()
    file = io.BytesIO()
    canvas.savefig(file, format="png")
    shown = np.asarray(Image.open(file).convert("RGB")).astype(int)  # (height, width, 3)
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    return int((np.abs(shown - wanted).max(axis=2) < 24).sum())


@pytest.mark.parametrize("name", MARKS)
def test_every_mark_is_drawn_in_its_colour(name: str) -> None:
    colour = plots.INK if name == "level" else plots.COLOURS[LORA]
    assert pixels(MARKS[name], colour) > 30
    assert pixels(Line("", (), (), colour=FOURIER), colour) == 0


@pytest.mark.parametrize(("with_it", "without"), [("bars", "means"), ("joined", "means")])
def test_what_a_mark_has_beside_its_means_is_drawn_too(with_it: str, without: str) -> None:
    colour = plots.COLOURS[LORA]
    assert pixels(MARKS[with_it], colour) > pixels(MARKS[without], colour) + 30


def test_a_band_is_a_fifth_of_its_lines_colour() -> None:
    parts = [int(plots.COLOURS[LORA][k : k + 2], 16) for k in (1, 3, 5)]
    light = "#" + "".join(f"{255 - round(0.2 * (255 - part)):02X}" for part in parts)
    assert pixels(MARKS["band"], light) > pixels(MARKS["line"], light) + 1000


def test_each_seeds_dot_is_drawn() -> None:
    """A dot is a thin ring, most of whose pixels are a mixture."""
    dots = MARKS["dots"]
    assert isinstance(dots, Points)
    fewer = replace(dots, dots=())
    assert pixels(dots, plots.COLOURS[LORA]) != pixels(fewer, plots.COLOURS[LORA])


def test_only_pictures_that_were_made_here_carry_a_digest(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.png", tmp_path / "theirs.png"
    ours.write_bytes(drawn(FIGURE))
    Image.new("RGB", (4, 4)).save(theirs)
    assert plots.carries_digest(ours)
    assert not plots.carries_digest(theirs)
