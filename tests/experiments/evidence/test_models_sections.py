"""The sections of architectures and images say what the numbers say, whichever way they fall."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from experiments.architectures.experiment import plan as architectures
from experiments.evidence.blocks import Aim, Block, Table
from experiments.evidence.evidence import Evidence
from experiments.evidence.page import page
from experiments.evidence.sections import sections
from experiments.images.experiment import plan as images
from experiments.images.trial import ImageTrial, PretextTrial
from experiments.records import Book, Record
from experiments.training import DIVERGED
from experiments.trial import Json, Options, Trial, described, key
from tests.experiments.evidence.synthetic import ENVIRONMENT

LEVEL = {"fourier": 0.85, "lora": 0.8, "head": 0.6}


def record(trial: Trial, result: Json) -> Record:
    return Record(
        key(trial), trial.label, trial.work, trial.steps, described(trial), result, 9.0, ENVIRONMENT
    )


def epochs(choose: float) -> Json:
    history = [{"epoch": 1, "loss": 0.5, "seconds": 2.0, "cpu_seconds": 1.9, "choose": choose}]
    history[0]["peak_bytes"] = 10
    return {"history": history, "epoch": 1, "choose": choose}


def onnx(margin: float | None) -> Json:
    differing = [] if margin is None else [{"id": 4, "margin": margin}]
    return {
        "largest_difference": 1e-6, "largest_logit": 4.0, "relative_error": 2.5e-7, "answers": 300,
        "differing": differing, "margins_below": len(differing), "accuracy": 0.8, "torch": 0.8,
    }  # fmt: skip


def image(trial: Trial, margin: float | None, level: dict[str, float]) -> Json:
    if isinstance(trial, PretextTrial):
        return epochs(0.9) | {"report": {"accuracy": 0.91}, "images": 500}
    assert isinstance(trial, ImageTrial)
    kind = trial.method.kind
    found = epochs(level[kind] - abs(trial.rate - 0.01) / 100) | {"parameters": 600, "head": 5}
    if trial.report:
        right = np.random.default_rng(trial.seed).random(300) < level[kind]
        found |= {
            "report": {"accuracy": float(right.mean())},
            "right": "".join(str(int(each)) for each in right),
            "file_bytes": 1000,
        }
    return found | ({"onnxruntime": onnx(margin)} if trial.serve else {})


def of_images(tmp_path: Path, margin: float | None = None, **level: float) -> list[Block]:
    return rendered("images", trained(tmp_path, margin, **level))


def trained(tmp_path: Path, margin: float | None = None, **level: float) -> tuple[Record, ...]:
    book = Book("small", tmp_path)
    for _ in range(3):
        for trial in images(Options("small"), book).trials:
            if book.get(trial) is None:
                book.add(record(trial, image(trial, margin, LEVEL | level)))
    return tuple(book)


def rendered(name: str, records: tuple[Record, ...]) -> list[Block]:
    section = next(section for section in sections() if section.name == name)
    evidence = Evidence("small", {name: records})
    blocks = list(section.render(evidence))
    for block in blocks:
        if isinstance(block, Table):
            assert {len(row) for row in block.rows} == {len(block.header)}
    made = page(sections(), [evidence])
    assert "nan" not in made.text
    return blocks


def text(blocks: list[Block]) -> str:
    found = "\n".join(block for block in blocks if isinstance(block, str))
    return found.replace("\n", " ")


def aims(blocks: list[Block]) -> dict[str, bool | None]:
    return {block.what: block.reached for block in blocks if isinstance(block, Aim)}


def test_images_say_who_is_above_whom(tmp_path: Path) -> None:
    said = text(of_images(tmp_path / "a"))
    assert "FourierFT n = 600 against head alone: clearly above" in said
    assert "The classes that it is adapted to it has never seen." in said
    assert "right in 91.0 %" in said
    other = text(of_images(tmp_path / "b", fourier=0.5))
    assert "FourierFT n = 600 against LoRA r = 8: clearly below" in other


@pytest.mark.parametrize(("margin", "reached"), [(None, True), (5e-5, True), (2e-4, False)])
def test_a_class_may_differ_at_a_small_margin_alone(
    margin: float | None, reached: bool, tmp_path: Path
) -> None:
    found = aims(of_images(tmp_path, margin))
    assert found["images, classes in ONNX Runtime against torch"] is reached


def test_images_without_a_reporting_seed_say_so(tmp_path: Path) -> None:
    trial = images(Options("small"), Book("small", tmp_path)).trials[0]
    blocks = rendered("images", (record(trial, image(trial, None, LEVEL)),))
    assert blocks[0] == "Rates have been tried, and no fresh seed has reported yet."
    assert "nothing yet: fashion-mnist head alone, " in text(blocks)


def kind_of(record: Record) -> str:
    return str(record.trial.get("method", {}).get("kind"))


def cells(blocks: list[Block], first: str) -> list[list[str]]:
    """Returns the rows of all tables whose first cell is `first`."""
    tables = (block for block in blocks if isinstance(block, Table))
    return [list(row) for table in tables for row in table.rows if row[0] == first]


def test_images_state_the_heads_rate_beside_others_and_who_tunes_its_own(tmp_path: Path) -> None:
    said = text(of_images(tmp_path))
    assert "The head's rate beside every other method is fixed beforehand: 0.004." in said
    assert "The head alone tunes its own rate" in said


def test_images_state_grids_and_each_methods_own_settings(tmp_path: Path) -> None:
    said = text(of_images(tmp_path))
    assert "FourierFT 0.06, 0.12, 0.24, 0.48, each 2 times the one before, 8 in all" in said
    assert "LoRA 0.001, 0.002, 0.004, 0.008, each 2 times the one before, 8 in all" in said
    assert "not equally fine" not in said
    assert "LoRA r = 8: alpha 16, dropout 0;" in said
    assert "LoRA r = 16: alpha 32, dropout 0;" in said
    assert "4 rates for each method, each once, seed 0" in said


def test_methods_that_were_not_tried_equally_often_are_said_to_be_so(tmp_path: Path) -> None:
    whole = trained(tmp_path)
    fewer = [r for r in whole if not (kind_of(r) == "lora" and r.trial["rate"] == 2e-3)]
    assert "not tried equally often" not in text(rendered("images", whole))
    assert "**The methods were not tried equally often.**" in text(rendered("images", tuple(fewer)))


def test_each_row_of_images_has_its_own_seeds(tmp_path: Path) -> None:
    whole = trained(tmp_path)
    assert "Half run" not in text(rendered("images", whole))
    gone = {("lora", 1), ("head", 3)}
    some = [
        r for r in whole if not r.trial.get("report") or (kind_of(r), r.trial["seed"]) not in gone
    ]
    blocks = rendered("images", tuple(some))
    seeds = cells(blocks, "LoRA r = 8")[0][5]
    assert seeds.startswith("2: ")
    assert seeds.endswith("(2 of 3 seeds so far)")
    assert cells(blocks, "head alone")[0][5].startswith("1: ")
    assert "begun: fashion-mnist head alone (2 of 3 seeds so far)" in text(blocks)


def test_a_rate_of_images_that_diverged_is_said_to_have(tmp_path: Path) -> None:
    def changed(found: Record) -> Record:
        if kind_of(found) != "lora" or found.trial["rate"] != 8e-3 or found.trial["report"]:
            return found
        return replace(found, result={**found.result, "choose": DIVERGED, "diverged": 1})

    blocks = rendered("images", tuple(map(changed, trained(tmp_path))))
    assert "0.008: diverged" in cells(blocks, "LoRA r = 8")[-1]
    assert "Diverged, and stopped there: LoRA r = 8 at rate 0.008" in text(blocks)


def test_images_say_what_may_be_missing_and_what_intervals_mean(tmp_path: Path) -> None:
    whole = trained(tmp_path)
    said = text(rendered("images", whole))
    assert "No seed was best at its last epoch." in said
    assert "Every interval is given the rate" in said
    assert "no difference is shown, and none up to its ends is ruled out" in said
    assert "4 differences, FourierFT minus LoRA: " in said
    assert "is at an end of those tried" in said
    last = [replace(r, result={**r.result, "epoch": r.trial.get("epochs")}) for r in whole]
    assert "Best at their last epoch, so that more epochs may help: 3 of 3 seeds of head" in text(
        rendered("images", tuple(last))
    )


def architecture(trial: Trial, *, falls: bool, live: bool) -> Json:
    def scores(loss: float) -> Json:
        return {"loss": loss, "accuracy": 0.5}

    served = {"adapted": onnx(None), "base": onnx(None)}
    return epochs(-0.5) | {
        "weights": 1000, "targets": 2, "parameters": 400, "head": 10, "file_bytes": 99,
        "base_bytes": 4000, "before": scores(1.0), "after": scores(0.5 if falls else 1.5),
        "after_without_delta": scores(0.9), "merged": onnx(None),
        "live": served if live else {"refused": ["E-CONVERSION-UNSUPPORTED"]},
        "seconds": {"export": 1.0, "convert": 0.1, "merged": 0.1, "live": 0.2},
    }  # fmt: skip


@pytest.mark.parametrize("falls", [True, False])
def test_architectures_say_what_fell_and_what_is_refused(falls: bool, tmp_path: Path) -> None:
    trials = architectures(Options("small"), Book("small", tmp_path)).trials
    records = tuple(
        record(trial, architecture(trial, falls=falls, live="efficientnet" not in trial.label))
        for trial in trials
    )
    blocks = rendered("architectures", records)
    assert aims(blocks)["trains in each"] is falls
    assert f"fell in {len(trials) if falls else 0} of {len(trials)} models" in text(blocks)
    assert "refused as a live graph: EfficientNet (efficientnet-lite0)." in text(blocks)
    cells = [cell for block in blocks if isinstance(block, Table) for r in block.rows for cell in r]
    assert "refused: E-CONVERSION-UNSUPPORTED" in cells
    assert "which is no measure of what the head would reach alone" in text(blocks)
    headers = [name for block in blocks if isinstance(block, Table) for name in block.header]
    assert "processor time" in headers
    assert not {"merging", "training"} & set(headers)
    assert "1.9 s" in cells
    assert aims(blocks)["served live in each"] is False
    live = next(block for block in blocks if isinstance(block, Aim) and "live in" in block.what)
    assert (
        live.found == f"{len(trials) - 1} of {len(trials)}; not EfficientNet (efficientnet-lite0)"
    )
    assert len({asdict(record)["label"] for record in records}) == len(records)


def some_architectures(tmp_path: Path, *skipped: str) -> list[Block]:
    trials = architectures(Options("small"), Book("small", tmp_path)).trials
    found = [trial for trial in trials if trial.label not in skipped]
    records = [record(trial, architecture(trial, falls=True, live=True)) for trial in found]
    return rendered("architectures", tuple(records))


def test_an_architecture_that_has_not_run_is_named_and_no_aim_is_reached(tmp_path: Path) -> None:
    assert set(aims(some_architectures(tmp_path)).values()) == {True}
    blocks = some_architectures(tmp_path, "gpt2 4 x 256, random", "bert minilm")
    assert set(aims(blocks).values()) == {None}
    names = "nothing yet: BERT (minilm) and GPT-2 (4 x 256, random weights)."
    assert names in text(blocks)
    assert "fell in 9 of 9 models that have run, of 11." in text(blocks)
    (trains, live, _) = [block for block in blocks if isinstance(block, Aim)]
    assert trains.found == live.found == "9 of 11; 2 have not run"


def test_each_class_that_differs_in_an_architecture_is_listed(tmp_path: Path) -> None:
    trial = architectures(Options("small"), Book("small", tmp_path)).trials[0]
    found = architecture(trial, falls=True, live=True)
    found["merged"] = onnx(None) | {"differing": [{"id": k, "margin": 3e-5} for k in range(9)]}
    blocks = rendered("architectures", (record(trial, found),))
    cells = [cell for block in blocks if isinstance(block, Table) for r in block.rows for cell in r]
    (listed,) = [cell for cell in cells if cell.startswith("9: ")]
    assert all(f"(row {k})" in listed for k in range(9))


def test_every_seed_of_images_is_to_be_served(tmp_path: Path) -> None:
    whole = trained(tmp_path)
    what = "images, classes in ONNX Runtime against torch"
    assert aims(rendered("images", whole))[what] is True
    fewer = [r for r in whole if not (kind_of(r) == "fourier" and r.trial.get("seed") == 2)]
    assert aims(rendered("images", tuple(fewer)))[what] is None


def test_a_seed_of_images_that_diverged_at_once_does_not_vanish(tmp_path: Path) -> None:
    def lost(found: Record) -> Record:
        if kind_of(found) != "lora" or not found.trial["report"] or found.trial["seed"] != 2:
            return found
        kept = {k: found.result[k] for k in ("history", "epoch", "choose", "parameters", "head")}
        return replace(found, result=kept | {"diverged": 1})

    blocks = rendered("images", tuple(map(lost, trained(tmp_path))))
    assert cells(blocks, "LoRA r = 8")[0][5].endswith("(1 of 3 seeds diverged)")
    assert "seed 2 (epoch 1, nothing to report)" in text(blocks)
    assert "**Runs were lost; means are of the others alone.**" in text(blocks)
