"""docs/evidence.md is what the committed results give, and its pictures show their numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.evidence.__main__ import DOCS
from experiments.evidence.choice_costs import costs
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


def test_the_readme_quotes_the_times_and_the_untuned_cosine_of_today() -> None:
    readme = " ".join((DOCS.parent / "README.md").read_text("utf-8").split())
    small = next(each for each in collected() if each.size == "small")
    tasks = {each.task: each for each in headlines(small)}
    time = costs(small, list(tasks.values())).time.values()
    quoted = f"{min(time):.2f} to {max(time):.2f} times LoRA's processor time"
    assert quoted in readme
    stsb = tasks["stsb"]
    assert stsb.cosine is not None
    means = [stsb.groups[kind].mean("pearson").mean for kind in ("lora", "fourier")]
    assert "On STS-B the encoder's own cosine, untuned, is better than either." in readme
    assert stsb.cosine > max(means)
