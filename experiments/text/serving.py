"""The trained adapter in ONNX Runtime: exported base, merged, and its answers beside torch's."""

from __future__ import annotations

import fcntl
import io
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import torch

import fourier_format
from experiments.text.models import Example, bucketed, located, new_model, padded, padding, tokens
from experiments.text.scoring import Numbers, margins, predictions, score
from experiments.text.tasks import Rows, Task
from experiments.trial import Json
from fourier_converters.onnx import to_onnx

MARGIN = 1e-4
"""A class that leads by less than this may differ between two runtimes."""


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
    answers = {
        "largest_difference": float(np.abs(ours - theirs).max()),
        "largest_logit": float(np.abs(theirs).max()),
        metric: score(metric, predictions(ours), rows.labels),
        "torch": score(metric, predictions(theirs), rows.labels),
    }
    if theirs.shape[1] == 1:
        return answers
    differing = np.flatnonzero(predictions(ours) != predictions(theirs))
    leads = margins(theirs)
    listed = [{"id": rows.ids[row], "margin": float(leads[row])} for row in differing]
    close = int((leads < MARGIN).sum())
    return answers | {"rows": len(rows), "differing": listed, "margins_below": close}


def _padding(name: str) -> int:
    from transformers import AutoConfig

    return int(AutoConfig.from_pretrained(located(name)).pad_token_id)


def _base(name: str, task: Task, shared: Path) -> Path:
    folder = shared / "bases"
    folder.mkdir(parents=True, exist_ok=True)
    name_of_file = f"{name.replace('/', '-')}-{max(1, task.classes)}.onnx"
    path = folder / name_of_file
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _export(new_model(name, task, seed=0), name, task, path)
    return path


def _export(model: torch.nn.Module, name: str, task: Task, path: Path) -> None:
    pairs = Rows(["a", "b"], ["c", "d e"] if task.pairs else None, np.zeros(2), [0, 1])
    example = padded(tokens(name, pairs, 16), padding(model))
    partial = path.with_suffix(".partial")
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter talks much
        torch.onnx.export(
            model,
            (),
            partial,
            kwargs=dict(example),
            input_names=list(example),
            output_names=["logits"],
            dynamic_shapes={key: {0: "batch", 1: "tokens"} for key in example},
            dynamo=True,
            external_data=False,
        )
    partial.replace(path)


def _answers(path: Path, examples: list[Example], token: int) -> Numbers:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    wanted = [value.name for value in session.get_inputs()]
    found: dict[int, Numbers] = {}
    for chosen in bucketed(examples, 64):
        batch = padded([examples[row] for row in chosen], token)
        given = session.run(["logits"], {key: batch[key].numpy() for key in wanted})[0]
        found |= dict(zip(chosen.tolist(), np.asarray(given, np.float64), strict=True))
    return np.stack([found[row] for row in range(len(examples))])
