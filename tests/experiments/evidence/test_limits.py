"""What is missing from a comparison is said: seeds, rates, epochs, and runs that diverged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from experiments.catalogue import EXPERIMENTS
from experiments.evidence import choice
from experiments.evidence.blocks import Aim, Figure, Table
from experiments.evidence.differences import paired
from experiments.evidence.evidence import Evidence, collected
from experiments.evidence.formatting import UNITS
from experiments.evidence.limits import each_seed, limits
from experiments.evidence.trainings import Group, of_kind, of_task, reported
from experiments.records import Record
from experiments.settings import table
from experiments.statistics import mean_interval
from experiments.trial import Json
from tests.experiments.evidence.synthetic import (
    SKILL,
    Change,
    changed,
    fill,
    rendered,
    resulting,
    text,
    without,
)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Returns GLUE's results of a FourierFT that reaches its aims."""
    folder = tmp_path_factory.mktemp("good")
    fill(folder, EXPERIMENTS["glue"], "small", SKILL | {"fourier": 9.0, "lora": 1.5})
    return collected(folder)[0]


def group(evidence: Evidence, kind: str, task: str = "mrpc") -> Group:
    found = of_kind(reported(evidence.of("glue"), task), kind)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["glue", "further", "curves", "bias", "bases"])
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
    assert found[0].reached is None
    assert " 0 of 5" in found[0].found


def test_without_a_task_its_aims_cannot_be_told(evidence: Evidence) -> None:
    half = changed(evidence, "glue", lambda r: r if r.trial["task"] != "stsb" else None)
    aims = [block for block in rendered("glue", half) if isinstance(block, Aim)]
    found = {aim.what: aim for aim in aims if aim.what.startswith("STS-B")}
    assert found.keys() == {
        "STS-B, FourierFT n = 600 minus LoRA r = 8",
        "STS-B, LoRA r = 8 minus the head alone",
        "STS-B, Pearson in ONNX Runtime against torch",
    }
    assert {aim.reached for aim in found.values()} == {None}
    assert {aim.found for aim in found.values()} == {"none has run", "none was served"}


def test_a_rate_at_the_end_of_its_grid_is_named_and_one_within_is_not(evidence: Evidence) -> None:
    (said,) = limits("mrpc", of_task(evidence.of("glue"), "mrpc"))
    assert "LoRA r = 8 (the highest)" in said
    assert "FourierFT" not in said
    begun = changed(evidence, "glue", without("lora", {1, 2, 3, 4, 5}))
    (said,) = limits("mrpc", of_task(begun.of("glue"), "mrpc"))
    assert "head alone (the highest)" in said
    assert "LoRA" not in said  # nothing is chosen yet
    (within,) = limits("mrpc", [group(evidence, "fourier")])
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


@pytest.mark.parametrize(
    ("name", "count"),
    [("glue", 3), ("further", 14), ("curves", 15), ("bias", 9), ("bases", 5)],
)
def test_every_section_counts_differences_and_shows_what_was_served(
    evidence: Evidence, name: str, count: int
) -> None:
    said = text(name, evidence)
    assert "classes in ONNX Runtime against torch" in said
    assert "by one seed on" in said or "given the rate" in said
    assert f"\n\n{count} differences, " in said


def lost(kind: str, seeds: set[int], task: str = "mrpc") -> Change:
    """Lets reporting runs diverge in their first epoch."""

    def change(record: Record) -> Record | None:
        trial = record.trial
        of = trial["task"] == task and trial.get("report") and trial["method"]["kind"] == kind
        if not of or trial["seed"] not in seeds:
            return record
        kept = ("history", "epoch", "choose", "parameters", "head")
        result = {name: record.result[name] for name in kept} | {"diverged": 1}
        return replace(record, result=result)

    return change


def headline(evidence: Evidence, task: str = "MRPC") -> tuple[Aim, Aim]:
    aims = [block for block in rendered("glue", evidence) if isinstance(block, Aim)]
    ours, gain = [aim for aim in aims if aim.what.startswith(task) and "minus" in aim.what]
    return ours, gain


def answer(evidence: Evidence, task: str = "MRPC") -> str:
    tables = [block for block in choice.blocks([evidence]) if isinstance(block, Table)]
    return next(row[-1] for row in tables[0].rows if row[0].startswith(task))


@pytest.mark.parametrize("kind", ["fourier", "lora", "head"])
def test_a_seed_that_diverged_at_once_is_shown_and_no_aim_is_reached(
    good: Evidence, kind: str
) -> None:
    assert headline(good)[0].reached is True
    half = changed(good, "glue", lost(kind, {2}))
    name = group(good, kind).name
    assert each_seed(group(half, kind), [1, 2, 3, 4, 5]).endswith("(1 of 5 seeds diverged)")
    said = text("glue", half)
    assert "Half run" not in said
    short = group(good, kind).short
    lines = (
        f"**Runs were lost; means are of the others alone.** MRPC {short} (1 of 5 seeds diverged)"
    )
    assert lines in said
    rate = f"{group(good, kind).runs[0].trial['rate']:g}"
    assert f"{name} at rate {rate}, seed 2 (epoch 1, nothing to report)" in said
    assert headline(half)[0].reached is None
    assert f"seeds diverged: {name} 1 of 5" in headline(half)[0].found
    assert answer(half) == "a run was lost"


def test_where_every_seed_diverged_the_method_does_not_vanish(evidence: Evidence) -> None:
    half = changed(evidence, "glue", lost("fourier", {1, 2, 3, 4, 5}))
    assert "MRPC FourierFT (5 of 5 seeds diverged)" in text("glue", half)
    assert headline(half)[0].reached is None
    assert answer(half) == "a run was lost"


@pytest.mark.parametrize("kind", ["fourier", "lora", "head"])
def test_the_headline_waits_for_every_seed_of_each_method(evidence: Evidence, kind: str) -> None:
    ours, gain = headline(evidence)
    assert ours.found.endswith(", 5 of 5 seeds")
    assert gain.found.endswith(", 5 of 5 seeds")
    half = changed(evidence, "glue", without(kind, {4}))
    ours, gain = headline(half)
    assert ours.reached is None
    assert f"{group(evidence, kind).name} 4 of 5" in ours.found
    assert gain.reached is (True if kind == "fourier" else None)
    assert answer(half) == "4 of 5 seeds"


def test_a_runtime_that_has_not_answered_for_every_seed_reaches_nothing(
    evidence: Evidence,
) -> None:
    def aim(found: Evidence) -> Aim:
        aims = [block for block in rendered("glue", found) if isinstance(block, Aim)]
        return next(each for each in aims if each.what.startswith("SST-2, classes"))

    assert aim(evidence).reached is True
    half = aim(changed(evidence, "glue", without("fourier", {1}, "sst2")))
    assert half.reached is None
    assert half.found.endswith("; 4 of 5 served")


def test_only_fourierft_beside_lora_is_counted_among_many(evidence: Evidence) -> None:
    assert "3 differences, FourierFT minus LoRA: " in text("glue", evidence)
    one = changed(evidence, "glue", lambda r: r if r.trial["task"] == "mrpc" else None)
    assert "chance would give" not in text("glue", one)


def test_rates_that_were_added_later_are_told(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = text("glue", evidence)
    assert "added once the others had been tried: FourierFT 0.48 and 0.96; LoRA 0.00025" in found

    def planned(name: str, size: str) -> Json:
        return {k: v for k, v in table(name, size).items() if k != "added_rates"}

    monkeypatch.setattr("experiments.evidence.sections.glue.table", planned)
    assert "added once the others" not in text("glue", evidence)


def test_why_rates_were_added_is_told_of_what_was_tried_first(evidence: Evidence) -> None:
    def steep(record: Record) -> Record:
        trial = record.trial
        ours = trial.get("method", {}).get("kind") == "fourier" and trial["task"] == "stsb"
        if not ours or trial["report"]:
            return record
        return resulting(record, choose=trial["rate"])

    sentence = "Of the first ones the best was at an end for "
    (whole,) = [part for part in text("glue", evidence).split("\n") if sentence in part]
    assert "FourierFT on STS-B (the highest)" not in whole
    half = text("glue", changed(evidence, "glue", steep))
    assert sentence in half
    assert "FourierFT on STS-B (the highest)" in half


def test_the_second_metric_differs_with_the_interval_over_seeds(evidence: Evidence) -> None:
    table_ = next(
        block
        for block in rendered("glue", evidence)
        if isinstance(block, Table) and block.header[-1] == "F1 on test (%), over seeds alone"
    )
    groups = {g.method["kind"]: g for g in reported(evidence.of("glue"), "mrpc")}
    ours, theirs = (np.array(groups[kind].values("f1")) for kind in ("fourier", "lora"))
    expected = UNITS["f1"].difference(mean_interval(list(ours - theirs)))
    assert table_.rows[0][-1] == expected
    assert expected != table_.rows[0][-2]


def test_all_weights_of_a_few_layers_are_not_called_full(evidence: Evidence) -> None:
    half = changed(evidence, "glue", without("full", {1}))
    assert "MRPC last 3 layers (4 of 5 seeds so far)" in text("glue", half)
    categories = [
        name
        for block in rendered("glue", evidence)
        if isinstance(block, Figure)
        for panel in block.panels
        for name in panel.categories
    ]
    assert "last\n3 layers" in categories
    assert "full" not in categories
    assert "; last 3 layers 2e-05, " in text("glue", evidence)


def test_on_a_gpu_times_are_wall_times_and_memory_is_the_gpus(evidence: Evidence) -> None:
    def on_gpu(record: Record) -> Record:
        return replace(record, environment=record.environment | {"device": "NVIDIA H100"})

    def time(found: Evidence) -> tuple[str, str]:
        tables = [b for b in rendered("glue", found) if isinstance(b, Table)]
        costs = next(b for b in tables if "peak memory" in b.header)
        return costs.header[2], costs.rows[0][2]

    assert time(evidence) == ("processor time", "12 s")
    gpu = changed(evidence, "glue", on_gpu)
    assert time(gpu) == ("wall time", "16 s")
    assert "memory is the most that torch" in text("glue", gpu)
    assert "memory is the most that the trial's own process held" in text("glue", evidence)
    some = changed(evidence, "glue", lambda r: on_gpu(r) if r.trial.get("seed") == 1 else r)
    assert "must not be compared" in text("glue", some)
    assert "processor time" in text("curves", evidence)
    assert "processor" not in text("curves", changed(evidence, "curves", on_gpu))


def test_memory_is_that_of_the_epoch_which_held_least(evidence: Evidence) -> None:
    def of_lora(change: Change) -> str:
        tables = [b for b in rendered("glue", changed(evidence, "glue", change))
                  if isinstance(b, Table) and "peak memory" in b.header]  # fmt: skip
        return next(row[3] for row in tables[0].rows if row[0] == "LoRA r = 8")

    def stopped(record: Record) -> Record:
        if "history" not in record.result:
            return record
        history = [dict(each) for each in record.result["history"]]
        history[-1] |= {"loss": None, "peak_bytes": 1e6}
        return resulting(record, history=history, diverged=len(history))

    assert of_lora(lambda record: record) == "582 MiB"  # 6.1e8, the first epoch's
    assert of_lora(stopped) == "582 MiB"
