"""The page says of instruction tuning what the numbers say."""

from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.evidence.blocks import Aim, Block, Figure, Table
from experiments.evidence.evidence import Evidence
from experiments.evidence.sections.instruction import SECTION
from experiments.instruction.plan import INSTRUCTION
from experiments.instruction.trial import InstructionTrial
from experiments.records import Book, Record
from experiments.trial import Json, Options, described, key


def result(trial: InstructionTrial, last: float) -> Json:
    """Return what a trial might give."""
    fourier = trial.method.kind == "fourier"
    history = [
        {
            "loss": 5.0,
            "losses": [9.0, 1.0],
            "steps": 2,
            "seconds": 9.0,
            "cpu_seconds": 1.0,
            "peak_bytes": 2**30,
        },
        {
            "loss": last,
            "losses": [last, last],
            "steps": 2,
            "seconds": 9.0,
            "cpu_seconds": 2.0,
            "peak_bytes": 2**31,
        },
    ]
    found: Json = {
        "history": history, "choose_loss": 3.0, "parameters": 64 if fourier else 6400,
        "file_bytes": 1000 if fourier else 20_000, "merged_loss": 3.25,
        "before_bytes": 2**29, "learned_answers": 180,
    }  # fmt: skip
    if trial.answered:
        found["onnxruntime"] = {
            "runtime": "onnxruntime-genai", "seconds": 9.0, "convert_seconds": 0.4, "answers": 8,
            "tokens": 192, "differing": [], "margins_below": 0,
        }  # fmt: skip
    return found


def made(
    folder: Path,
    last: float,
    size: str = "small",
    keep: Callable[[InstructionTrial], bool] = lambda _: True,
    device: str = "cpu",
) -> list[Block]:
    """Return the section of the made-up results that are kept, whose last loss is `last`."""
    book = Book(size, folder)
    environment = {"device": device, "threads": 2}
    for trial in INSTRUCTION.plan(Options(size), book).trials:
        assert isinstance(trial, InstructionTrial)
        if not keep(trial):
            continue
        fields = key(trial), trial.label, trial.work, trial.steps, described(trial)
        book.add(Record(*fields, result(trial, last), 9.0, environment))
    return list(SECTION.render(Evidence(size, {"instruction": tuple(book)})))


@pytest.mark.parametrize(("last", "reached"), [(4.0, True), (9.5, False)])
def test_a_loss_that_does_not_fall_is_told(last: float, reached: bool, tmp_path: Path) -> None:
    blocks = made(tmp_path, last)

    aims = {block.what: block.reached for block in blocks if isinstance(block, Aim)}
    assert aims["training loss, last epoch against first step"] is reached
    assert aims["answers in ONNX Runtime against torch"] is True


def test_costs_are_ratios_on_the_same_base(tmp_path: Path) -> None:
    blocks = made(tmp_path, 4.0)

    text = "\n".join(block for block in blocks if isinstance(block, str))
    expected = "0.010 times the parameters, 0.050 times the file, 1.00 times"
    assert f"FourierFT n = 1000 against LoRA r = 64: {expected}" in text
    base = ", 4-bit base"
    assert f"FourierFT n = 1000{base} against LoRA r = 8{base}: {expected}" in text
    assert "GPT-4" in text
    (figure,) = [block for block in blocks if isinstance(block, Figure)]
    assert len(figure.panels) == 2
    for block in blocks:
        if isinstance(block, Table):
            assert {len(row) for row in block.rows} == {len(block.header)}


def _cells(blocks: list[Block], header: str) -> dict[str, str]:
    """Return the column of the table that has it, by the rows' names."""
    table = next(b for b in blocks if isinstance(b, Table) and header in b.header)
    place = list(table.header).index(header)
    return {row[0]: row[place] for row in table.rows}


def test_a_merged_base_is_called_what_it_is(tmp_path: Path) -> None:
    blocks = made(tmp_path, 4.0)

    merged = "FourierFT n = 1000, trained on NF4, merged into and served on float32"
    assert list(_cells(blocks, "answers")) == ["FourierFT n = 1000", merged]
    assert set(_cells(blocks, "the same, merged into float32").values()) == {"3.250"}
    assert set(_cells(blocks, "lowest held-out loss").values()) == {"3.000"}
    assert set(_cells(blocks, "a step").values()) == {"750 ms"}


def test_random_weights_are_said_to_be_cost_alone(tmp_path: Path) -> None:
    blocks = made(tmp_path, 4.0, "medium")

    drawn = ", 4-bit base, random weights: cost alone"
    assert f"LoRA r = 64{drawn}" in _cells(blocks, "peak memory")
    text = "\n".join(block for block in blocks if isinstance(block, str))
    assert f"FourierFT n = 1000{drawn} against LoRA r = 64{drawn}: " in text
    (figure,) = [block for block in blocks if isinstance(block, Figure)]
    assert not any("random" in mark.name for panel in figure.panels for mark in panel.marks)


def said(blocks: list[Block]) -> str:
    return "\n".join(block for block in blocks if isinstance(block, str))


def test_random_weights_alone_are_shown_without_a_curve(tmp_path: Path) -> None:
    blocks = made(tmp_path, 4.0, "medium", lambda trial: trial.model.startswith("random"))

    assert "No run has a finite training loss, so there is no curve." in said(blocks)
    assert {block.reached for block in blocks if isinstance(block, Aim)} == {None}
    assert "FourierFT n = 1000" in said(blocks).split("nothing yet: ")[1]


def test_what_has_not_run_is_named_and_no_aim_is_reached(tmp_path: Path) -> None:
    blocks = made(tmp_path, 4.0, keep=lambda trial: trial.bits == 32)

    names = [f"{name}, 4-bit base" for name in ("FourierFT n = 1000", "LoRA r = 64", "LoRA r = 8")]
    assert f"nothing yet: {names[0]}, {names[1]} and {names[2]}." in said(blocks)
    assert {block.reached for block in blocks if isinstance(block, Aim)} == {None}
    assert "Half run" not in said(made(tmp_path / "whole", 4.0))
    assert "Half run" not in said(made(tmp_path / "medium", 4.0, "medium"))


def test_on_a_gpu_a_step_is_wall_time_and_memory_the_gpus(tmp_path: Path) -> None:
    blocks = made(tmp_path, 4.0, device="NVIDIA H100")

    assert set(_cells(blocks, "a step").values()) == {"4.5 s"}
    assert "torch held on the GPU" in said(blocks)
