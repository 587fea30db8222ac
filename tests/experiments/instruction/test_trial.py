"""An instruction tuning of a toy: its cost, and its answers in ONNX Runtime."""

import json
from pathlib import Path

import pytest

from experiments.instruction.plan import INSTRUCTION
from experiments.instruction.trial import InstructionTrial
from experiments.records import Book
from experiments.settings import SIZES
from experiments.trial import Context, Options

pytestmark = pytest.mark.real


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
    fields = {name: getattr(trial, name) for name in InstructionTrial.__dataclass_fields__}
    own = InstructionTrial(**fields | {"source": "jsonl", "length": 400, "epochs": 2, "rate": 0.3})
    context = Context(tmp_path, tmp_path / "shared", file, "cpu", lambda: None)

    result = own.run(context)

    first, last = (epoch["choose"] for epoch in result["history"])
    assert last > first
    assert result["onnxruntime"]["differing"] == []
    assert result["merged_loss"] == pytest.approx(result["choose_loss"], rel=1e-5)
    assert all(epoch["cpu_seconds"] > 0 and epoch["steps"] > 0 for epoch in result["history"])
    assert result["peak_bytes"] >= result["before_bytes"] > 0
    assert result["file_bytes"] > 4 * result["parameters"]
