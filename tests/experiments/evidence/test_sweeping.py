"""Curves, bias, bases and further conclude on what was tuned, held to one, and by a rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from experiments.evidence.blocks import Table
from experiments.evidence.evidence import Evidence
from experiments.evidence.trainings import of_task, with_tried
from experiments.records import Record
from experiments.settings import table
from experiments.statistics import Interval, Numbers
from tests.experiments.evidence.synthetic import (
    Change,
    changed,
    rendered,
    resulting,
    text,
    without,
)


def test_only_pairs_that_were_both_tuned_are_concluded_upon(evidence: Evidence) -> None:
    said = text("curves", evidence)
    tables = [block for block in rendered("curves", evidence) if isinstance(block, Table)]
    rates = {row[0]: row[2] for table in tables if "rates" in table.header for row in table.rows}
    assert rates["FourierFT n = 6144 minus LoRA r = 8"] == "both tuned"
    assert rates["FourierFT n = 1536 minus LoRA r = 2"] == "scaled"
    assert "- FourierFT n = 6144 against LoRA r = 8:" in said
    assert "- FourierFT n = 1536 against LoRA r = 2:" not in said
    assert "LoRA r = 1 and LoRA r = 8. FourierFT n = 50" in said  # tuned ones, then scaled ones

    untuned = changed(evidence, "curves", lambda r: r if r.trial["report"] else None)
    untuned = changed(untuned, "glue", lambda r: r if r.trial.get("report") else None)
    assert "No pair was tuned on both sides" in text("curves", untuned)


def test_deltas_that_did_not_move_alike_are_said_so(evidence: Evidence) -> None:
    assert "FourierFT's delta norms: from 2 (FourierFT n = 50)" in text("curves", evidence)
    assert "not alike" not in text("curves", evidence)

    def larger(record: Record) -> Record:
        norm = 9.0 if record.trial["method"].get("n") == 6144 else 2.0
        return resulting(record, delta_norm=norm)

    said = text("curves", changed(evidence, "curves", larger))
    assert "to 9 (FourierFT n = 6144), a factor of 4.5: not alike" in said


def at_rate(task: str, rate: float) -> Change:
    """Gives GLUE's FourierFT another chosen rate."""

    def change(record: Record) -> Record:
        trial = record.trial
        if trial["task"] != task or not trial.get("report") or trial["method"]["kind"] != "fourier":
            return record
        return replace(record, trial=trial | {"rate": rate})

    return change


def test_curves_tell_of_a_rate_at_an_end_that_glue_has_tried(evidence: Evidence) -> None:
    highest = table("glue", "small")["rates"]["fourier"][-1]

    def at_end(record: Record) -> Record:
        ours = record.trial["method"].get("n") == 600
        return replace(record, trial=record.trial | {"rate": highest}) if ours else record

    half = changed(evidence, "curves", at_end)
    assert "FourierFT n = 600 (the highest)" in text("curves", half)
    assert "FourierFT n = 600 (the" not in text("curves", evidence)


def test_what_glue_has_tried_beyond_a_sweeps_own_rates_is_known_of_its_ends(
    evidence: Evidence,
) -> None:
    lowest = table("curves", "small")["rates"]["lora"][0]

    def at_end(record: Record) -> Record:
        own = record.trial["method"].get("rank") in {1, 8} and record.trial["report"]
        return replace(record, trial=record.trial | {"rate": lowest}) if own else record

    half = changed(evidence, "curves", at_end)
    (lora,) = [g for g in of_task(half.of("curves"), "mrpc") if g.name == "LoRA r = 8"]
    (with_them,) = with_tried([lora], half.of("glue"))
    assert [run.trial["rate"] for run in with_them.tried] == table("glue", "small")["rates"]["lora"]
    found = text("curves", half)
    assert "LoRA r = 1 (the lowest)" in found
    assert "LoRA r = 8 (the" not in found
    alone = changed(half, "glue", lambda _: None)
    assert "LoRA r = 8 (the lowest)" in text("curves", alone)


def test_the_scaling_claim_is_concluded_on_sizes_that_were_tuned(evidence: Evidence) -> None:
    blocks = rendered("curves", evidence)
    (found,) = [
        block
        for block in blocks
        if isinstance(block, Table) and list(block.header[1:]) == ["rates", "difference"]
    ]
    rates = {row[0]: row[1] for row in found.rows}
    assert rates["FourierFT n = 6144 minus FourierFT n = 600"] == "both tuned"
    assert rates["LoRA r = 8 minus LoRA r = 1"] == "both tuned"
    assert rates["FourierFT n = 6144 minus FourierFT n = 50"] == "scaled"
    said = text("curves", evidence)
    assert "- FourierFT n = 6144 against FourierFT n = 600: " in said
    assert "- FourierFT n = 6144 against FourierFT n = 50: " not in said
    assert (
        "- Among FourierFT n = 50, FourierFT n = 100, FourierFT n = 200, FourierFT n = 600" in said
    )
    assert "intervals are as under glue" in said.lower()


def test_sizes_that_have_not_both_reported_are_not_said_to_be_missing_from_the_plan(
    evidence: Evidence,
) -> None:
    half = changed(
        evidence,
        "curves",
        lambda r: r if r.trial["method"].get("n") == 600 or not r.trial["report"] else None,
    )
    assert "of as many parameters have both reported" in text("curves", half)


@pytest.mark.parametrize("name", ["further", "curves", "bias", "bases"])
def test_what_is_compared_and_ran_with_other_code_is_told(name: str, evidence: Evidence) -> None:
    def other(record: Record) -> Record:
        if record.trial.get("seed") != 1:
            return record
        return replace(record, environment=record.environment | {"code": "ffff0000"})

    assert "different training code" not in text(name, evidence)
    assert "**What is compared ran with different training code**" in text(
        name, changed(evidence, name, other)
    )


def test_bases_are_held_to_dft2_or_to_nothing(evidence: Evidence) -> None:
    def gone(record: Record) -> Record | None:
        dft2 = record.trial["method"].get("transform") == "dft2" and record.trial["report"]
        return None if dft2 else record

    assert "- dct2 against dft2: " in text("bases", evidence)
    half = text("bases", changed(evidence, "bases", gone))
    assert "against dct2" not in half
    assert "nothing to compare with has run" in half


def test_how_often_each_basis_was_tried_is_counted(evidence: Evidence) -> None:
    whole = text("bases", evidence)
    assert "Rates were tried for each basis, as under GLUE: 4 for every basis." in whole
    assert "| gaussian basis | 0.03: " in whole

    def fewer(record: Record) -> Record | None:
        dct2 = record.trial["method"].get("transform") == "dct2"
        return (
            None if dct2 and record.trial["rate"] == 0.06 and not record.trial["report"] else record
        )

    half = text("bases", changed(evidence, "bases", fewer))
    assert "3 for dct2 on MRPC" in half
    assert "**The bases were not tried equally often.**" in half


def test_whether_it_comes_nearer_is_a_difference_of_differences(evidence: Evidence) -> None:
    blocks = rendered("further", evidence)
    found = [b for b in blocks if isinstance(b, Table) and "above what it is" in b.header[-1]]
    assert [row[0] for table_ in found for row in table_.rows] == [
        "all layers", "all layers", "three times the epochs",
    ]  # fmt: skip

    def values(name: str, kind: str, layers: int) -> Numbers:
        runs = {
            record.trial["seed"]: record.result["report"]["accuracy"]
            for record in evidence.of(name)
            if record.trial["task"] == "mrpc" and record.trial.get("report")
            and record.trial["method"]["kind"] == kind and record.trial["trained_layers"] == layers
        }  # fmt: skip
        return np.array([runs[seed] for seed in (1, 2, 3)])

    there = values("further", "fourier", 0) - values("further", "lora", 0)
    under = values("glue", "fourier", 3) - values("glue", "lora", 3)
    mean = found[0].rows[0][1].split(" [")[0]
    assert float(mean) == pytest.approx(100 * (there - under).mean(), abs=0.06)
    assert "- With all layers FourierFT minus LoRA is " in text("further", evidence)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.01, 0.02), "clearly higher than under GLUE, by"),
        ((-0.02, -0.01), "clearly lower than under GLUE, by"),
        ((-0.01, 0.01), "not shown to be another than under GLUE"),
        ((None, None), "from one seed, so that nothing is shown"),
    ],
)
def test_each_outcome_of_going_further_has_its_words(
    ends: tuple[float | None, float | None], said: str,
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    found = Interval(0.0, *ends)
    module = "experiments.evidence.sections.further.contrasted"
    monkeypatch.setattr(module, lambda *_: (found, (1, 2, 3)))
    assert f"- With all layers FourierFT minus LoRA is {said}" in text("further", evidence)


def test_bands_whose_one_rate_is_at_an_end_say_so(evidence: Evidence) -> None:
    rates = table("glue", "small")["rates"]["fourier"]
    sentence = "That rate is at an end of those tried, the lowest on MRPC and"
    half = changed(evidence, "bias", at_rate("mrpc", rates[0]))
    half = changed(half, "bias", at_rate("stsb", rates[-1]))
    assert f"{sentence} the highest on STS-B: a better one may lie beyond" in text("bias", half)
    assert "That rate is at an end" not in text("bias", evidence)


def test_further_tells_methods_within_a_setting_and_settings_within_a_method(
    evidence: Evidence,
) -> None:
    said = text("further", evidence)
    tables = [block for block in rendered("further", evidence) if isinstance(block, Table)]
    pairs = [(row[0], row[1]) for table in tables if "minus" in table.header for row in table.rows]
    ours, theirs = "FourierFT n = 600", "LoRA r = 8"
    settings = ("as under GLUE", "all layers", "three times the epochs")
    of_stsb = [(f"{ours}, {each}", f"{theirs}, {each}") for each in settings]
    of_stsb += [
        (f"{m}, {each}", f"{m}, as under GLUE") for each in settings[1:] for m in (theirs, ours)
    ]
    of_mrpc = [pair for pair in of_stsb if "epochs" not in pair[0]]
    assert pairs == of_mrpc + of_stsb
    assert "- FourierFT n = 600, all layers against LoRA r = 8, all layers: " in said
    assert "| STS-B | FourierFT n = 600, three times the epochs | 1 |" in said

    half = changed(evidence, "further", lambda r: None if r.trial["trained_layers"] else r)
    assert "nothing yet: STS-B LoRA, three times the epochs and STS-B Four" in text("further", half)
    half = changed(evidence, "further", without("lora", {1, 2, 3}))
    assert "nothing yet: MRPC LoRA, all layers." in text("further", half)
    alone = changed(evidence, "glue", lambda _: None)
    assert "as under GLUE |" not in text("further", alone)
