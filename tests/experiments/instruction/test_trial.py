"""An instruction tuning of a toy: its cost, and its answers in ONNX Runtime."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.causal.methods import Fourier, Lora, Method
from experiments.instruction.plan import INSTRUCTION
from experiments.instruction.trial import InstructionTrial
from experiments.records import Book
from experiments.settings import SIZES
from experiments.trial import Context, Options

pytestmark = pytest.mark.real
_SMALLER: dict[str, Method] = {"fourier": Fourier(60, 300.0), "lora": Lora(2, 4.0)}


@pytest.mark.parametrize("size", SIZES)
def test_every_size_compares_fourierft_with_lora(size: str, tmp_path: Path) -> None:
    found = INSTRUCTION.plan(Options(size), Book(size, tmp_path))

    kinds = {trial.method.kind for trial in found.trials if isinstance(trial, InstructionTrial)}
    assert kinds == {"fourier", "lora"}
    assert len({trial.label for trial in found.trials}) == len(found.trials)


def test_it_is_measured_and_answers_like_torch(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    lines = [
        json.dumps({"instruction": "Say", "input": f"{k}", "output": f"{k}"}) for k in range(9)
    ]
    file.write_text("\n".join(lines))
    trial = next(
        trial
        for trial in INSTRUCTION.plan(Options("smoke"), Book("smoke", tmp_path)).trials
        if isinstance(trial, InstructionTrial) and trial.method.kind == "fourier"
    )
    own = replace(trial, source="jsonl", length=400, epochs=2, rate=0.3)
    context = Context(tmp_path, tmp_path / "shared", file, "cpu", lambda: None)

    result = own.run(context)

    first, last = (epoch["choose"] for epoch in result["history"])
    assert last > first
    assert result["onnxruntime"]["differing"] == []
    assert result["merged_loss"] == pytest.approx(result["choose_loss"], rel=1e-5)
    assert all(epoch["cpu_seconds"] > 0 and epoch["steps"] > 0 for epoch in result["history"])
    assert min(epoch["peak_bytes"] for epoch in result["history"]) >= result["before_bytes"] > 0
    assert result["file_bytes"] > 4 * result["parameters"]


def test_examples_without_room_for_an_answer_are_counted(tmp_path: Path) -> None:
    trial = next(
        trial
        for trial in INSTRUCTION.plan(Options("smoke"), Book("smoke", tmp_path)).trials
        if isinstance(trial, InstructionTrial)
    )
    own = replace(trial, source="jsonl", length=250, rows=None, answered=0)
    file = tmp_path / "own.jsonl"
    inputs = ["1"] * 30 + ["1" * 99] * 5
    lines = [json.dumps({"instruction": "Say", "input": k, "output": k}) for k in inputs]
    file.write_text("\n".join(lines))
    context = Context(tmp_path, tmp_path / "shared", file, "cpu", lambda: None)

    assert own.run(context)["left_out"] == 5
    with pytest.raises(SystemExit, match="no prompt has fewer than 20 tokens"):
        replace(own, length=20).run(context)


def _unlearned(folder: Path) -> list[InstructionTrial]:
    found = INSTRUCTION.plan(Options("medium"), Book("medium", folder)).trials
    trials = [trial for trial in found if isinstance(trial, InstructionTrial)]
    return [trial for trial in trials if trial.model == "random llama-2-7b"]


def test_the_cost_of_llama_2_7b_needs_a_gpu_but_no_weights(tmp_path: Path) -> None:
    trials = _unlearned(tmp_path)

    assert {trial.method for trial in trials} == {Fourier(1000, 300.0), Lora(64, 128.0)}
    assert {(trial.bits, trial.answered, trial.precision) for trial in trials} == {
        (4, 0, "bfloat16")
    }
    with pytest.raises(SystemExit, match="give --device cuda"):
        trials[0].run(Context(tmp_path, tmp_path, tmp_path, "cpu", lambda: None))
    assert INSTRUCTION.plan(Options("medium", "own"), Book("medium", tmp_path)).trials
    given = INSTRUCTION.plan(Options("medium", "own"), Book("medium", tmp_path)).trials
    assert {getattr(trial, "model", None) for trial in given} == {"own"}


@pytest.mark.parametrize("kind", ["fourier", "lora"])
def test_random_weights_are_trained_for_their_cost(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    file = tmp_path / "own.jsonl"
    file.write_text("\n".join([json.dumps({"instruction": "Say", "output": "x"})] * 12))
    trial = next(trial for trial in _unlearned(tmp_path) if trial.method.kind == kind)
    tiny = replace(trial, model="random toy", source="jsonl", method=_SMALLER[kind], rows=None)

    result = tiny.run(Context(tmp_path, tmp_path / "shared", file, "cpu", lambda: None))

    assert result["parameters"] == {"fourier": 4 * 60, "lora": 4 * 2 * (64 + 64)}[kind]
    assert result["file_bytes"] > 4 * result["parameters"]
    assert min(epoch["peak_bytes"] for epoch in result["history"]) >= result["before_bytes"] > 0
    assert "merged_loss" not in result
    assert result["history"][0]["losses"]
