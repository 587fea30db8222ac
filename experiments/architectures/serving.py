"""A trained adapter in ONNX Runtime: merged into the exported base, and live beside it.

The live graph answers every other row with the adapter, and the rows between with the base.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import fourier_format
from experiments.architectures.answering import answers, batches
from experiments.architectures.examples import IGNORED, Examples
from experiments.exporting import Compared, compared, export, remove, runner, stored
from experiments.trial import Json
from fourier_converters.onnx import to_onnx
from fourier_format.errors import UnsupportedError
from fourier_runtimes import AdapterSession


def served(
    file: Path, base: nn.Module, adapted: nn.Module, report: Examples, *, optimize: bool
) -> Json:
    """Returns how ONNX Runtime's answers compare with torch's, and how long each step took.

    Args:
        file: The adapter.
        base: The model without it, in eval mode.
        adapted: The model with it.
        report: What both answer.
        optimize: Of exporting.export.
    """
    seconds: dict[str, float] = {}
    plain, merged = file.with_name("base.onnx"), file.with_name("merged.onnx")
    try:
        with _timed(seconds, "export"):
            export(base, report.at(np.arange(2)).inputs, report.axes, plain, optimize=optimize)
        with _timed(seconds, "convert"):
            to_onnx(fourier_format.load(file), plain, merged, overwrite=True)
        with _timed(seconds, "merged"):
            found = {"merged": _merged(merged, adapted, report)}
        with _timed(seconds, "live"):
            found["live"] = _live(file, plain, base, adapted, report)
        sizes = {"base_bytes": stored(plain)}
    finally:
        remove(plain)
        remove(merged)
    return {**found, **sizes, "seconds": seconds}


def _merged(path: Path, adapted: nn.Module, report: Examples) -> Json:
    run = runner(path)
    total = Compared()
    for batch in batches(report):
        theirs = answers(adapted, batch)
        total += compared(run(batch.inputs), theirs, batch.ids, _counted(batch))
    return total.json


def _live(file: Path, plain: Path, base: nn.Module, adapted: nn.Module, report: Examples) -> Json:
    """Returns the differences of rows with the adapter and of rows without; or who refused."""
    try:
        session = AdapterSession(plain, adapters={"trained": file})
    except UnsupportedError as refused:
        return {"refused": [violation.code for violation in refused.violations]}
    with_adapter, without = Compared(), Compared()
    with session:
        wanted = [value.name for value in session.session.get_inputs()]
        for batch in batches(report):
            inputs = {k: v.numpy() for k, v in batch.inputs.items() if k in wanted}
            asked = [("trained", None)[row % 2] for row in range(len(batch))]
            ours = np.asarray(session.run(inputs, adapters=asked)[0], np.float64)
            even = np.arange(len(batch)) % 2 == 0
            with_adapter += _rows(ours, answers(adapted, batch), batch, even)
            without += _rows(ours, answers(base, batch), batch, ~even)
    return {"adapted": with_adapter.json, "base": without.json}


def _rows(ours: Any, theirs: Any, batch: Examples, chosen: Any) -> Compared:
    rows = np.flatnonzero(chosen)
    part = batch.at(rows)
    return compared(ours[rows], theirs[rows], part.ids, _counted(part))


def _counted(batch: Examples) -> Any:
    """Returns which answers count: all classes of rows, and of tokens those with a next one."""
    labels: Any = batch.labels.numpy()
    return labels != IGNORED


class _timed:  # noqa: N801  # reads as a verb
    """Keeps the wall time of a block under a name, in seconds."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] = round(time.perf_counter() - self._start, 2)
