"""Models in ONNX: exported once, merged, and what two runtimes answer beside each other."""

from __future__ import annotations

import io
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from experiments.fixed import MARGIN
from experiments.trial import Json

INLINE = 2_000_000_000
"""Bytes of weights that an .onnx holds itself: protobuf has room for 2 GiB with the graph."""

Numbers = npt.NDArray[np.float64]


def export(
    model: nn.Module,
    inputs: Mapping[str, Tensor],
    axes: Mapping[int, str],
    path: Path,
    *,
    optimize: bool = True,
) -> None:
    """Write `model` to `path`, whole or not at all: named inputs -> "logits", float32.

    Args:
        model: In eval mode, without an adapter.
        inputs: An example of at least two rows.
        axes: The axes of every input that may have any size.
        path: Of the .onnx; the weights are in it, or in a file beside it where they are too many.
        optimize: Whether the exporter may fold. It folds batch normalisations into convolutions,
            whose weights are then not those that an adapter was trained on.
    """
    partial = path.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    with _quiet():
        torch.onnx.export(
            model,
            (),
            partial / path.name,
            kwargs=dict(inputs),
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_shapes={name: dict(axes) for name in inputs},
            dynamo=True,
            optimize=optimize,
            external_data=_bytes(model) > INLINE,
        )
    for made in sorted(partial.iterdir(), reverse=True):  # the .onnx last
        made.replace(path.with_name(made.name))
    partial.rmdir()


def stored(path: Path) -> int:
    """Returns the bytes of a model, those beside it included."""
    return sum(each.stat().st_size for each in (path, _beside(path)) if each.exists())


def remove(path: Path) -> None:
    """Take a model away, with what lies beside it."""
    path.unlink(missing_ok=True)
    _beside(path).unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.data")


def _bytes(model: nn.Module) -> int:
    every = (*model.parameters(), *model.buffers())
    return sum(value.numel() * value.element_size() for value in every)


def runner(path: Path) -> Callable[[Mapping[str, Tensor]], Numbers]:
    """Returns what answers a batch by ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    wanted = [value.name for value in session.get_inputs()]

    def run(batch: Mapping[str, Tensor]) -> Numbers:
        given = session.run(["logits"], {name: batch[name].numpy() for name in wanted})[0]
        return np.asarray(given, np.float64)

    return run


@dataclass(frozen=True, slots=True)
class Compared:
    """How another runtime's logits differ from torch's; sums of batches by `+`.

    Attributes:
        difference: The largest.
        logit: The largest of torch's, by which differences are measured.
        answers: Classes that were compared: rows, or tokens of rows.
        differing: Of those judged otherwise: id, token (of rows of tokens), and torch's margin.
        close: How many of torch's margins are below MARGIN.
    """

    difference: float = 0.0
    logit: float = 0.0
    answers: int = 0
    differing: tuple[Json, ...] = ()
    close: int = 0

    def __add__(self, other: Compared) -> Compared:
        return Compared(
            max(self.difference, other.difference),
            max(self.logit, other.logit),
            self.answers + other.answers,
            (*self.differing, *other.differing),
            self.close + other.close,
        )

    @property
    def json(self) -> Json:
        """All of it as numbers, with the error relative to the largest logit."""
        return {
            "largest_difference": self.difference,
            "largest_logit": self.logit,
            "relative_error": self.difference / self.logit if self.logit else 0.0,
            "answers": self.answers,
            "differing": list(self.differing),
            "margins_below": self.close,
        }


def compared(ours: Numbers, theirs: Numbers, ids: Sequence[int], counted: Any) -> Compared:
    """Returns how `ours` differs from torch's `theirs`.

    Args:
        ours: Logits (rows, classes) or (rows, tokens, classes).
        theirs: The same of torch.
        ids: Of the rows.
        counted: Booleans (rows,) or (rows, tokens): which answers count; padding does not.
    """
    rows = np.argwhere(counted)  # (answers, 1 or 2)
    ours, theirs = ours[counted], theirs[counted]  # (answers, classes)
    ordered = np.partition(theirs, -2, axis=1)
    leads = ordered[:, -1] - ordered[:, -2]  # (answers,)
    differing = np.flatnonzero(ours.argmax(1) != theirs.argmax(1))
    return Compared(
        float(np.abs(ours - theirs).max(initial=0.0)),
        float(np.abs(theirs).max(initial=0.0)),
        len(rows),
        tuple(_place(ids, rows[k]) | {"margin": float(leads[k])} for k in differing),
        int((leads < MARGIN).sum()),
    )


def _place(ids: Sequence[int], where: Any) -> Json:
    row, *token = (int(value) for value in where)
    return {"id": ids[row], **({"token": token[0]} if token else {})}


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks much, by four ways."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
