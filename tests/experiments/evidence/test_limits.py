"""What is missing from a comparison is said: seeds, rates, epochs, and runs that diverged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from experiments.catalogue import EXPERIMENTS
from experiments.evidence.blocks import Aim, Block, Table
from experiments.evidence.differences import paired
from experiments.evidence.evidence import Evidence, collected
from experiments.evidence.limits import each_seed, limits
from experiments.evidence.page import markdown
from experiments.evidence.sections import sections
from experiments.evidence.trainings import Group, of_kind, of_task, reported
from experiments.records import Record
from tests.experiments.evidence.synthetic import SKILL, changed, fill, resulting

Change = Callable[[Record], Record | None]


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("results")
    for name in ("glue", "curves", "bias", "bases"):
        fill(folder, EXPERIMENTS[name], "small", SKILL)
    return collected(folder)[0]


def without(kind: str, seeds: set[int], task: str = "mrpc") -> Change:
    """Takes reporting runs out."""

    def change(record: Record) -> Record | None:
        trial = record.trial
        gone = trial["task"] == task and trial.get("report") and trial["method"]["kind"] == kind
        return None if gone and trial["seed"] in seeds else record

    return change


def rendered(name: str, evidence: Evidence) -> list[Block]:
    section = next(section for section in sections() if section.name == name)
    return list(section.render(evidence))


def text(name: str, evidence: Evidence) -> str:
    return "\n\n".join(markdown(block) for block in rendered(name, evidence))


def group(evidence: Evidence, kind: str, task: str = "mrpc") -> Group:
    found = of_kind(reported(evidence.of("glue"), task), kind)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["glue", "curves", "bias", "bases"])
def test_a_whole_sweep_is_not_called_half_run(evidence: Evidence, name: str) -> None:
    assert "Half run" not in text(name, evidence)
    assert "so far" not in text(name, evidence)


def test_each_row_shows_its_own_seeds_and_how_many_are_missing(evidence: Evidence) -> None:
    half = changed(evidence, "glue", without("lora", {1, 4, 5}))
    cell = each_seed(group(half, "lora"), [1, 2, 3, 4, 5])
    assert cell.startswith("2: ")
    assert cell.endswith("(2 of 5 seeds so far)")
    said = text("glue", half)
    assert cell in said
    assert "**Half run; means are of what there is so far.**" in said
    assert "begun: MRPC LoRA (2 of 5 seeds so far)" in said


def test_what_has_not_begun_is_named(evidence: Evidence) -> None:
    half = changed(evidence, "curves", lambda r: r if r.trial["method"].get("n") != 3072 else None)
    assert "nothing yet: MRPC FourierFT n = 3072." in text("curves", half)
    half = changed(evidence, "bias", lambda r: r if r.trial["task"] != "sst2" else None)
    assert "nothing yet: SST-2 no bias, SST-2 low 0/100," in text("bias", half)
    half = changed(evidence, "bases", without("control", {1, 2, 3}))
    assert "begun: MRPC gaussian basis (4 rates tried, no seed so far)" in text("bases", half)


def test_a_difference_says_of_which_seeds_it_is_where_means_are_of_others(
    evidence: Evidence,
) -> None:
    whole = paired(evidence, group(evidence, "fourier"), group(evidence, "lora"))
    assert whole is not None
    assert "alone" not in whole.written
    half = changed(evidence, "glue", without("lora", {1, 4, 5}))
    found = paired(half, group(half, "fourier"), group(half, "lora"))
    assert found is not None
    assert found.seeds == (2, 3)
    assert found.written.endswith("(of seeds 2 and 3 alone)")


def test_of_one_shared_seed_no_conclusion_is_drawn(evidence: Evidence) -> None:
    half = changed(evidence, "glue", without("lora", {1, 2, 4, 5}))
    found = paired(half, group(half, "fourier"), group(half, "lora"))
    assert found is not None
    assert found.interval.low is None
    assert "from one seed: no interval, so nothing is shown" in found.said()
    aims = [block for block in rendered("glue", half) if isinstance(block, Aim)]
    assert {aim.reached for aim in aims if aim.what.startswith("MRPC, FourierFT")} == {None}


@pytest.mark.parametrize("kind", ["fourier", "lora", "head"])
def test_without_a_method_the_aims_are_still_there_and_cannot_be_told(
    evidence: Evidence, kind: str
) -> None:
    half = changed(evidence, "glue", without(kind, {1, 2, 3, 4, 5}))
    aims = [block for block in rendered("glue", half) if isinstance(block, Aim)]
    found = [aim for aim in aims if aim.what.startswith("MRPC, FourierFT") and "minus" in aim.what]
    assert len(found) == 1
    assert found[0].reached is not True


def test_without_a_task_its_aims_cannot_be_told(evidence: Evidence) -> None:
    half = changed(evidence, "glue", lambda r: r if r.trial["task"] != "stsb" else None)
    aims = [block for block in rendered("glue", half) if isinstance(block, Aim)]
    found = {aim.what: aim for aim in aims if aim.what.startswith("STS-B")}
    assert found.keys() == {"STS-B, FourierFT minus LoRA", "STS-B, LoRA minus the head alone"}
    assert {aim.reached for aim in found.values()} == {None}


def test_a_rate_at_the_end_of_its_grid_is_named_and_one_within_is_not(evidence: Evidence) -> None:
    said = limits("mrpc", of_task(evidence.of("glue"), "mrpc"))
    assert "LoRA r = 8 (the highest)" in said
    assert "FourierFT" not in said
    within = limits("mrpc", [group(evidence, "fourier")])
    assert "No rate that is chosen is the lowest or the highest" in within


def test_seeds_that_were_best_at_their_last_epoch_are_counted(evidence: Evidence) -> None:
    def late(record: Record) -> Record:
        trial = record.trial
        if trial.get("report") and trial["method"]["kind"] == "lora" and trial["seed"] < 4:
            return resulting(record, epoch=trial["epochs"])
        return record

    said = text("glue", changed(evidence, "glue", late))
    assert "so that more epochs may help: 3 of 5 seeds of LoRA r = 8." in said
    assert "No seed was best at its last epoch." in text("glue", evidence)


def test_runs_that_diverged_are_named_and_their_curves_end_before(evidence: Evidence) -> None:
    def lost(record: Record) -> Record:
        trial = record.trial
        if trial["method"] != group(evidence, "lora").method:
            return record
        history = [dict(each) for each in record.result["history"][:3]]
        history[-1] |= {"loss": None, "choose": -1.0}
        return resulting(record, history=history, diverged=3)

    half = changed(evidence, "curves", lost)
    assert "Diverged, and stopped there: LoRA r = 8 at rate 0.0005, seed 0 (epoch 3)" in text(
        "curves", half
    )
    found = next(g for g in reported(half.of("curves"), "mrpc") if g.name == "LoRA r = 8")
    assert found.history("loss").shape == (3, 2)


def test_a_rate_that_diverged_at_once_has_no_score(evidence: Evidence) -> None:
    def lost(record: Record) -> Record:
        trial = record.trial
        if trial.get("report") is False and trial["rate"] in {0.0005, 0.001}:
            return resulting(record, diverged=1 if trial["rate"] == 0.0005 else 4)
        return record

    said = text("glue", changed(evidence, "glue", lost))
    assert "| 0.0005: diverged |" in said
    assert "| 0.001: 64.1, diverged |" in said


def test_matthews_has_the_interval_over_seeds_alone(evidence: Evidence) -> None:
    ours, theirs = (
        replace(
            group(evidence, kind),
            task="cola",
            runs=tuple(
                resulting(run, report={"matthews": run.trial["seed"] * factor})
                for run in group(evidence, kind).runs
            ),
        )
        for kind, factor in (("fourier", 0.2), ("lora", 0.1))
    )
    found = paired(evidence, ours, theirs)
    assert found is not None
    assert found.interval.mean == pytest.approx(0.3)
    assert found.interval.low == pytest.approx(0.3 - 2.776 * 0.1 * (2.5 / 5) ** 0.5, abs=1e-4)


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


@pytest.mark.parametrize("name", ["glue", "curves", "bias", "bases"])
def test_every_section_counts_differences_and_shows_what_was_served(
    evidence: Evidence, name: str
) -> None:
    said = text(name, evidence)
    assert "if there were none at all" in said
    assert "classes in ONNX Runtime against torch" in said
    assert "by one seed on" in said or "given the rate" in said


def test_bands_are_said_to_have_the_rate_of_no_band(evidence: Evidence) -> None:
    assert "This favours\nno bias" in text("bias", evidence)
