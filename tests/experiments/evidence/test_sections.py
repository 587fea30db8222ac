"""Sections say what the numbers say, whichever way they fall."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from experiments.catalogue import EXPERIMENTS
from experiments.evidence.__main__ import main as evidence_main
from experiments.evidence.blocks import Aim, Figure, Level, Panel, Table
from experiments.evidence.evidence import SIZES, Evidence, collected
from experiments.evidence.page import Page, page
from experiments.evidence.plots import drawn
from experiments.evidence.sections import sections
from experiments.records import RESULTS, Book, Record
from experiments.trial import Options
from tests.experiments.evidence.synthetic import SKILL, changed, fill, finished

Made = Callable[..., list[Evidence]]
_HERE = ("glue", "further", "curves", "bias", "bases")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    @cache
    def make(*names: str, **skill: float) -> list[Evidence]:
        folder = tmp_path_factory.mktemp("results")
        for name in names:
            fill(folder, EXPERIMENTS[name], "small", SKILL | skill)
        return collected(folder)

    return make


@pytest.fixture(scope="module")
def whole(made: Made) -> Page:
    return page(sections(), made(*_HERE))


def glue(evidence: list[Evidence]) -> list[object]:
    section = next(section for section in sections() if section.name == "glue")
    return list(section.render(evidence[0]))


def aims(evidence: list[Evidence]) -> dict[str, bool | None]:
    return {block.what: block.reached for block in glue(evidence) if isinstance(block, Aim)}


def test_every_table_has_as_many_cells_as_columns(whole: Page) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", whole.text, re.MULTILINE):
        rows = block.splitlines()
        assert {row.count("|") for row in rows} == {rows[0].count("|")}, rows[0]


def test_the_page_shows_each_figure_and_no_number_is_missing(whole: Page) -> None:
    assert whole.figures
    for figure in whole.figures:
        assert f"(evidence/{figure.name}.png)" in whole.text
        for panel in figure.panels:
            assert panel.y_label
            for mark in panel.marks:
                values = [mark.y] if isinstance(mark.y, float) else list(mark.y)
                assert values
                assert all(math.isfinite(value) for value in values)
    assert "nan" not in whole.text
    assert len({figure.name for figure in whole.figures}) == len(whole.figures)


def test_the_same_results_give_the_same_page(made: Made) -> None:
    evidence = made("glue", "bases")
    assert page(sections(), evidence) == page(sections(), evidence)


def test_every_aim_stands_at_the_top_as_well(made: Made, whole: Page) -> None:
    top = whole.text.split("\n## GLUE\n")[0]
    found = aims(made("glue"))
    assert found.keys() == {
        "MRPC, FourierFT n = 600 minus LoRA r = 8",
        "MRPC, LoRA r = 8 minus the head alone",
        "STS-B, FourierFT n = 600 minus LoRA r = 8",
        "STS-B, LoRA r = 8 minus the head alone",
        "MRPC, classes in ONNX Runtime against torch",
        "STS-B, Pearson in ONNX Runtime against torch",
        "SST-2, classes in ONNX Runtime against torch",
    }
    for what in found:
        assert f"GLUE: {what}" in top


def test_an_aim_is_reached_only_where_the_whole_interval_is_above_it(made: Made) -> None:
    def headline(**skill: float) -> bool | None:
        return aims(made("glue", **skill))["MRPC, FourierFT n = 600 minus LoRA r = 8"]

    assert headline(fourier=9.0, lora=1.0) is True
    assert headline(fourier=1.0, lora=9.0) is False


def test_without_a_gain_of_lora_over_the_head_the_comparison_is_said_to_show_nothing(
    made: Made,
) -> None:
    without = made("glue", fourier=9.0, lora=0.5, head=0.8)
    assert aims(without)["MRPC, FourierFT n = 600 minus LoRA r = 8"] is None
    said = [b for b in glue(without) if isinstance(b, str)]
    assert any("On MRPC LoRA itself is not clearly above" in text for text in said)
    assert any("proves nothing there. FourierFT is clearly above the head" in t for t in said)
    reasons = [b.found for b in glue(without) if isinstance(b, Aim) and "FourierFT" in b.what]
    assert any("LoRA r = 8 is not clearly above the head alone" in found for found in reasons)
    beside = [b for b in glue(made("glue", fourier=0.8, lora=0.5, head=0.8)) if isinstance(b, str)]
    assert any("proves nothing there. What was tried" in text for text in beside)
    said = [b for b in glue(made("glue", lora=9.0, head=0.5)) if isinstance(b, str)]
    assert not any("LoRA itself is not clearly above" in text for text in said)


def test_what_has_not_run_is_said_and_nothing_else() -> None:
    empty = page(sections(), [Evidence("small", {}), Evidence("medium", {}), Evidence("paper", {})])
    assert "Nothing has been run." in empty.text
    for section in sections():
        assert f"Not run here: `{section.name}` at the sizes small, medium and paper." in empty.text
    assert not empty.figures
    assert "## Aims" not in empty.text


def test_where_something_has_run_the_aims_of_what_has_not_stand_at_the_top(made: Made) -> None:
    text = page(sections(), made("bases")).text
    aims = text.split("## Aims")[1].split("\n## ")[0]
    for name in ("GLUE", "Frequency bias", "Architectures", "Generation", "Instruction", "Images"):
        rows = [row for row in aims.splitlines() if row.startswith(f"| {name}")]
        assert rows, name
        assert all(row.endswith("| cannot be told |") for row in rows)
    assert "Bases: MRPC, classes in ONNX Runtime against torch | small" in aims
    assert "| medium |" not in aims


def test_every_aim_that_cannot_be_told_says_why(made: Made) -> None:
    for section in sections():
        for size in SIZES:
            for aim in section.aims(Evidence(size, {})):
                assert aim.reached is None
                assert aim.found.startswith(("none ", "0 of "))


def test_what_was_run_stands_at_the_end_and_the_answer_first(whole: Page) -> None:
    headings = re.findall(r"^## (.*)$", whole.text, re.MULTILINE)
    assert headings[:2] == ["FourierFT or LoRA?", "Aims"]
    assert headings[-1] == "What was run"


def test_the_page_says_of_which_results_it_is(made: Made, whole: Page) -> None:
    other = page(sections(), made("bases"), committed=False).text
    assert "](../experiments/results)" in whole.text.split("\n## ")[0]
    assert "](../experiments/results)" not in other
    assert "experiments/configs" in whole.text.split("\n## ")[0]
    assert "experiments/configs" in other.split("\n## ")[0]


def test_records_that_do_not_say_which_code_or_day_are_counted(made: Made) -> None:
    def without(record: Record) -> Record:
        if record.trial.get("seed") != 1:
            return record
        kept = {k: v for k, v in record.environment.items() if k not in {"code", "day"}}
        return replace(record, environment=kept)

    (evidence, *_) = made("bases")
    text = page(sections(), [changed(evidence, "bases", without)]).text
    row = next(row for row in text.splitlines() if row.startswith("| `bases` | small "))
    assert "0123abcd and 6 of unknown code |" in row
    assert "2026-11-26 and 6 of unknown day |" in row
    assert "The training code changed between trials of `bases` (small)." in text
    assert "The training code changed" not in page(sections(), [evidence]).text


def test_classes_of_trials_that_have_each_their_code_have_not_changed(made: Made) -> None:
    def other(record: Record) -> Record:
        if record.trial["trial"] != "Untuned":
            return record
        return replace(record, environment=record.environment | {"code": "ffff0000"})

    (evidence, *_) = made("glue")
    text = page(sections(), [changed(evidence, "glue", other)]).text
    assert "| 0123abcd and ffff0000 |" in text
    assert "The training code changed" not in text


def test_another_folders_pictures_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evidence").mkdir()
    (tmp_path / "results").mkdir()
    mine, stale = tmp_path / "evidence" / "mine.png", tmp_path / "evidence" / "stale.png"
    Image.new("RGB", (4, 4)).save(mine)
    stale.write_bytes(drawn(Figure("stale", "", (Panel("", "", "", (Level("", 1.0),)),))))
    given = ["--results", str(tmp_path / "results"), "--docs", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["evidence", *given])
    evidence_main()
    assert mine.exists()
    assert not stale.exists()
    assert "from results that were given" in (tmp_path / "evidence.md").read_text("utf-8")


@pytest.mark.parametrize("name", _HERE)
def test_while_rates_are_being_tried_a_section_says_so(name: str, tmp_path: Path) -> None:
    book = Book("small", tmp_path)
    experiment = EXPERIMENTS[name]
    for trial in experiment.plan(Options("small"), book).trials[4:]:
        book.add(finished(trial, SKILL))
    book.write(experiment, Options("small"))
    section = next(section for section in sections() if section.name == name)
    blocks = section.render(collected(tmp_path)[0])
    assert not [block for block in blocks if isinstance(block, Table | Figure)]
    assert all(block.reached is None for block in blocks if isinstance(block, Aim))
    said = [block for block in blocks if isinstance(block, str)]
    assert any("have been tried" in text for text in said)
    assert any("**Half run" in text for text in said)


def test_differences_without_gold_scores_have_no_interval_and_that_is_said(made: Made) -> None:
    found = page(sections(), made("bias"))
    assert "STS-B: nothing to compare with has run, or the gold scores" in found.text
    assert "MRPC: nothing to compare with has run" not in found.text


def test_gold_scores_that_are_used_are_credited(whole: Page) -> None:
    credit = "Gold scores of the STS Benchmark, Cer et al. 2017, CC BY-SA 4.0"
    assert whole.text.count(credit) == len(
        re.findall(r"^\|.*\| Pearson on test .*each seed", whole.text, re.MULTILINE)
    )
    assert credit in " ".join((RESULTS / "README.md").read_text("utf-8").replace(">", "").split())
