"""The trained adapter in ONNX Runtime: exported base, merged, and its answers beside torch's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import fourier_format
from experiments import code, exporting
from experiments.exporting import export, runner
from experiments.locking import once
from experiments.pretrained import identity, located, pretrained
from experiments.text import models
from experiments.text.models import Example, bucketed, new_model, padded, padding, tokens
from experiments.text.scoring import Numbers, predictions, score
from experiments.text.tasks import Rows, Task
from experiments.trial import Json
from fourier_converters.onnx import to_onnx


def served(
    adapter: Path, name: str, task: Task, rows: Rows, theirs: Numbers, length: int, shared: Path
) -> Json:
    """Returns how ONNX Runtime's answers compare with torch's logits `theirs`, (rows, classes).

    The base is exported whole, whatever part of it was computed beforehand in training.
    """
    base = _base(name, task, shared)
    merged = adapter.with_name("merged.onnx")
    to_onnx(fourier_format.load(adapter), base, merged, overwrite=True)
    try:
        ours = _answers(merged, tokens(name, rows, length), _padding(name))
    finally:
        merged.unlink()
    return compared(ours, theirs, rows, task.metric)


def compared(ours: Numbers, theirs: Numbers, rows: Rows, metric: str) -> Json:
    """Returns the differences between two runtimes' logits, both (rows, classes).

    Every row that is judged otherwise is listed with the margin by which torch's class leads.
    """
    scores = {
        metric: score(metric, predictions(ours), rows.labels),
        "torch": score(metric, predictions(theirs), rows.labels),
    }
    if theirs.shape[1] == 1:
        return scores | {
            "largest_difference": float(np.abs(ours - theirs).max()),
            "largest_logit": float(np.abs(theirs).max()),
        }
    counted = np.full(len(rows), fill_value=True)
    found = exporting.compared(ours, theirs, rows.ids, counted)
    return scores | {"rows": len(rows)} | found.json


def _padding(name: str) -> int:
    from transformers import AutoConfig

    return int(pretrained(AutoConfig, name).pad_token_id)


def _base(name: str, task: Task, shared: Path) -> Path:
    makes = code.of(exporting.__file__, models.__file__)
    path = shared / "bases" / f"{identity(located(name))}-{max(1, task.classes)}-{makes}.onnx"
    with once(path) as missing:
        if missing:
            model = new_model(name, task, seed=0)
            second = ["c", "d e"] if task.pairs else None
            pairs = Rows(["a", "b"], second, np.zeros(2), [0, 1])
            example = padded(tokens(name, pairs, 16), padding(model))
            export(model, example, {0: "batch", 1: "tokens"}, path)
    return path


def _answers(path: Path, examples: list[Example], token: int) -> Numbers:
    run = runner(path)
    found: dict[int, Numbers] = {}
    for chosen in bucketed(examples, 64):
        answered = run(padded([examples[row] for row in chosen], token))
        found |= dict(zip(chosen.tolist(), answered, strict=True))
    return np.stack([found[row] for row in range(len(examples))])
