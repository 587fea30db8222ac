"""docs/evidence.md is what the committed results give, and its pictures show their numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.evidence.__main__ import DOCS
from experiments.evidence.evidence import collected
from experiments.evidence.headline import headlines
from experiments.evidence.page import FOLDER, Page, page
from experiments.evidence.plots import digest
from experiments.evidence.sections import sections
from experiments.evidence.trainings import unit

REMEDY = "run `make evidence`"


@pytest.fixture(scope="module")
def made() -> Page:
    return page(sections(), collected())


def test_the_committed_page_is_what_the_committed_results_give(made: Page) -> None:
    assert (DOCS / "evidence.md").read_text("utf-8") == made.text, REMEDY


def test_the_committed_pictures_are_those_of_the_page(made: Page) -> None:
    there = sorted(path.stem for path in (DOCS / FOLDER).glob("*.png"))
    assert there == sorted(figure.name for figure in made.figures), REMEDY


def test_each_committed_picture_was_drawn_from_the_numbers_of_today(made: Page) -> None:
    for figure in made.figures:
        path: Path = DOCS / FOLDER / f"{figure.name}.png"
        with Image.open(path) as picture:
            assert picture.info["digest"] == digest(figure), f"{path.name}: {REMEDY}"
            shades = np.asarray(picture.convert("L"))
            assert shades.min() < 100 < shades.max(), f"{path.name} shows nothing"


def test_the_readme_quotes_the_headline_of_today() -> None:
    readme = " ".join((DOCS.parent / "README.md").read_text("utf-8").split())
    small = next(each for each in collected() if each.size == "small")
    found = {each.task: each.ours for each in headlines(small)}
    for task in ("mrpc", "stsb", "sst2"):
        ours = found[task]
        assert ours is not None
        assert unit(task).difference(ours.interval) in readme, task
