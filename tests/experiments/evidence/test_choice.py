"""The answer at the top of the page is one rule on the numbers beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.catalogue import EXPERIMENTS
from experiments.evidence import choice
from experiments.evidence.blocks import Block, Table
from experiments.evidence.evidence import Evidence, collected
from experiments.evidence.headline import Headline, headlines
from experiments.evidence.trainings import Group
from experiments.records import Record
from experiments.statistics import Interval
from tests.experiments.evidence.synthetic import SKILL, changed, fill, resulting
from tests.experiments.evidence.test_cost import FFT
from tests.experiments.evidence.test_cost import evidence as of_cost


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    folder = tmp_path_factory.mktemp("results")
    fill(folder, EXPERIMENTS["glue"], "small", SKILL)
    return collected(folder)[0]


def given(
    evidence: Evidence, ours: tuple[float, float], gain: float = 0.1, task: str = "mrpc"
) -> Headline:
    """Returns a headline with the ends of FourierFT minus LoRA and LoRA's least gain."""
    found = next(each for each in headlines(evidence) if each.task == task)
    assert found.ours is not None
    assert found.gain is not None
    low, high = ours
    return replace(
        found,
        ours=replace(found.ours, interval=Interval((low + high) / 2, low, high)),
        gain=replace(found.gain, interval=Interval(gain + 0.01, gain, gain + 0.02)),
    )


@pytest.mark.parametrize(
    ("ours", "gain", "answer"),
    [
        ((-0.3, 0.3), -0.005, "LoRA is not shown to beat the head: nothing to compare"),
        ((-0.019, 0.01), 0.1, "as good within 2 points"),
        ((-0.019, -0.003), 0.1, "as good within 2 points, and worse by at least 0.3 points"),
        ((0.004, 0.02), 0.1, "as good within 2 points, and better by at least 0.4 points"),
        ((-0.03, -0.012), 0.1, "worse by at least 1.2 points"),
        ((-0.03, 0.002), 0.1, "not decided: up to 3.0 points worse is possible"),
        ((-0.02, 0.002), 0.1, "not decided: up to 2.0 points worse is possible"),
    ],
)
def test_an_answer_follows_the_ends_of_the_interval(
    evidence: Evidence, ours: tuple[float, float], gain: float, answer: str
) -> None:
    assert given(evidence, ours, gain).answer() == answer


def test_of_a_correlation_the_bound_is_a_hundredth(evidence: Evidence) -> None:
    assert given(evidence, (-0.009, 0.01), task="stsb").answer() == "as good within 0.01"
    assert (
        given(evidence, (-0.011, 0.01), task="stsb")
        .answer()
        .startswith("not decided: up to 0.0110")
    )


def tables(blocks: list[Block]) -> list[Table]:
    return [block for block in blocks if isinstance(block, Table)]


def test_every_planned_task_has_a_row_with_what_there_is(evidence: Evidence) -> None:
    rows = tables(choice.blocks([evidence]))[0].rows
    assert [row[0] for row in rows] == [
        "MRPC, accuracy (%)",
        "STS-B, Pearson",
        "SST-2, accuracy (%)",
    ]
    assert {row[6] for row in rows} == {"5 of 5"}

    def half(record: Record) -> Record | None:
        task, trial = record.trial["task"], record.trial
        if task == "stsb":
            return None
        gone = task == "mrpc" and trial.get("report") and trial["method"]["kind"] == "head"
        return None if gone and trial["seed"] > 2 else record

    rows = tables(choice.blocks([changed(evidence, "glue", half)]))[0].rows
    assert [row[-1] for row in rows[:2]] == ["2 of 5 seeds", "not run"]
    assert [row[6] for row in rows[:2]] == ["2, 5, 5 of 5", "0 of 5"]
    assert set(rows[1][1:6]) == {"-"}


def ratios(blocks: list[Block]) -> dict[str, str]:
    return {row[0]: row[1] for row in tables(blocks)[1].rows}


def test_ratios_are_of_the_same_tasks_and_what_has_not_run_is_left_open(
    evidence: Evidence,
) -> None:
    one, own, fed = (
        "serving, one adapter for all rows, beside ONNX Runtime's LoRA",
        "serving, an adapter a row, beside ONNX Runtime's LoRA, a Run a row",
        "serving, an adapter a row, beside a graph that is fed each row's factors",
    )
    found = ratios(choice.blocks([evidence]))
    assert found["trained numbers beside the head"] == "0.098"
    assert found["bytes of the file, with the head"] == "0.20"
    assert found["training, processor time"] == "1.00"
    assert [found[name] for name in (one, own, fed)] == ["-"] * 3
    cost = of_cost(FFT).of("cost")
    both = replace(evidence, files={**evidence.files, "cost": cost})
    served = ratios(choice.blocks([both]))
    assert [served[name] for name in (one, own, fed)] == ["1.09", "0.30", "1.09"]
    alone = ratios(choice.blocks([Evidence("small", {"cost": cost})]))
    assert alone["trained numbers beside the head"] == "-"
    assert alone[own] == "0.30"


def said(evidence: Evidence) -> str:
    return " ".join(block for block in choice.blocks([evidence]) if isinstance(block, str))


@pytest.mark.parametrize(
    ("factor", "tasks", "sentence"),
    [
        (2.0, {"mrpc", "stsb", "sst2"}, "takes longer on MRPC, STS-B and SST-2, with every seed."),
        (0.5, {"mrpc", "stsb", "sst2"}, "takes less time on MRPC, STS-B and SST-2, with every"),
        (2.0, {"stsb"}, "FourierFT's training takes longer on STS-B, with every seed."),
        (1.0, {"mrpc"}, ""),
    ],
)
def test_a_difference_of_time_is_told_of_the_tasks_where_every_seed_shows_it(
    evidence: Evidence, factor: float, tasks: set[str], sentence: str
) -> None:
    def timed(record: Record) -> Record:
        ours = record.trial.get("method", {}).get("kind") == "fourier"
        if not ours or record.trial["task"] not in tasks:
            return record
        history = [
            {**each, "cpu_seconds": factor * each["cpu_seconds"]}
            for each in record.result["history"]
        ]
        return resulting(record, history=history)

    found = said(changed(evidence, "glue", timed))
    assert sentence in found
    assert ("FourierFT's training" in found) is bool(sentence)


def with_serving(evidence: Evidence, over: float) -> Evidence:
    """Returns it beside costs where a live graph with one adapter takes `over` times as long."""

    def slowed(record: Record) -> Record:
        forms = [
            {**form, "seconds": [over * each for each in form["seconds"]]}
            if (form["kind"], form["adapters"]) == ("live", "one")
            else form
            for form in record.result.get("forms", [])
        ]
        return resulting(record, forms=forms)

    cost = tuple(map(slowed, of_cost(FFT).of("cost")))
    return replace(evidence, files={**evidence.files, "cost": cost})


@pytest.mark.parametrize(("over", "word"), [(1.0, "slower"), (0.5, "faster"), (1.1 / 1.2, "")])
def test_serving_one_adapter_is_called_slower_where_no_median_says_otherwise(
    evidence: Evidence, over: float, word: str
) -> None:
    found = said(with_serving(evidence, over))
    assert ("Served live" in found) is bool(word)
    assert f"one adapter for all rows, FourierFT is {word} than LoRA at" in found or not word


def test_times_are_told_of_all_planned_seeds_and_one_kind_of_device_alone(
    evidence: Evidence,
) -> None:
    def slow(record: Record) -> Record | None:
        if record.trial.get("method", {}).get("kind") != "fourier":
            return record
        history = [{**each, "cpu_seconds": 9e9} for each in record.result["history"]]
        return resulting(record, history=history)

    def one_seed(record: Record) -> Record | None:
        return slow(record) if record.trial.get("seed") in {0, 1} else None

    def on_gpu(record: Record) -> Record | None:
        if record.trial.get("method", {}).get("kind") != "lora":
            return slow(record)
        return replace(record, environment=record.environment | {"device": "NVIDIA H100"})

    assert "with every seed" in said(changed(evidence, "glue", slow))
    assert "with every seed" not in said(changed(evidence, "glue", one_seed))
    mixed = changed(evidence, "glue", on_gpu)
    assert "with every seed" not in said(mixed)
    found = ratios(choice.blocks([mixed]))
    assert (found["training, wall time"], found["peak memory of training"]) == ("-", "-")
    assert found["trained numbers beside the head"] == "0.098"


def test_sections_that_compare_the_two_elsewhere_are_named_once_a_seed_has_reported(
    evidence: Evidence,
) -> None:
    assert "the two as well" not in said(evidence)
    records = evidence.of("glue")
    reported = tuple(record for record in records if "report" in record.result)
    tried = tuple(record for record in records if "report" not in record.result)

    def beside(**files: tuple[Record, ...]) -> str:
        return said(replace(evidence, files={**evidence.files, **files}))

    assert "the two as well" not in beside(images=tried)
    assert "Images compares the two as well, " in beside(images=reported)
    both = beside(images=reported, generation=reported)
    assert "Generation and Images compare the two as well, " in both


def test_a_task_that_is_as_good_and_still_worse_is_told_so(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        given(evidence, ends, task=task)
        for task, ends in (
            ("mrpc", (-0.019, -0.003)),
            ("stsb", (0.002, 0.009)),
            ("sst2", (-0.01, 0.01)),
        )
    ]
    monkeypatch.setattr(choice, "headlines", lambda _: found)
    assert (
        "FourierFT is as good as LoRA within the bound on MRPC (and worse), STS-B (and better) and "
        "SST-2." in said(evidence)
    )


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        (0.01, "lies above the interval, over seeds alone, of LoRA r = 8, "),
        (0.0, "lies within the interval, over seeds alone, of LoRA r = 8, "),
        (-0.5, ""),
    ],
)
def test_what_the_encoder_gives_untrained_stands_beside_what_training_gave(
    evidence: Evidence, over: float, sentence: str
) -> None:
    found = next(each for each in headlines(evidence) if each.task == "stsb")
    assert found.cosine is not None
    end = found.groups["lora"].mean("pearson").high
    assert end is not None
    remarks = " ".join(replace(found, cosine=end + over).remarks())
    assert sentence in remarks
    assert ("On STS-B the untuned cosine" in remarks) is bool(sentence)
    assert replace(found, cosine=None).remarks() == []


def test_a_verdict_waits_for_every_task_and_size_for_what_is_smaller(evidence: Evidence) -> None:
    assert "FourierFT is worse than LoRA on " in said(evidence)
    assert "FourierFT is the smaller: 0.098 of LoRA's trained numbers" in said(evidence)
    half = changed(evidence, "glue", lambda r: r if r.trial["task"] != "stsb" else None)
    assert "FourierFT is worse" not in said(half)

    def larger(record: Record) -> Record:
        ours = record.trial.get("method", {}).get("kind") == "fourier"
        return resulting(record, file_bytes=10**9) if ours else record

    assert "the smaller" not in said(changed(evidence, "glue", larger))


def test_a_size_at_which_nothing_has_run_has_no_table(evidence: Evidence) -> None:
    blocks = choice.blocks([evidence, Evidence("medium", {})])
    assert len(tables(blocks)) == 2
    assert "Nothing has been run." in said(Evidence("small", {}))


def test_groups_without_a_run_have_no_mean(evidence: Evidence) -> None:
    tried = changed(evidence, "glue", lambda r: None if r.trial.get("report") else r)
    for row in tables(choice.blocks([tried]))[0].rows:
        assert row[2:6] == ["-"] * 4
        assert row[-1] == "not run"
    assert all(isinstance(g, Group) for h in headlines(tried) for g in h.groups.values())
