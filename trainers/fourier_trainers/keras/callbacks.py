"""A callback of `fit` that writes adapter.fft: the best one, or that of every epoch.

model.fit(..., callbacks=[AdapterCallback("adapter.fft", monitor="val_accuracy", mode="max")])
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import keras

import fourier_format
from fourier_format.errors import UsageError, Violation
from fourier_trainers.keras.capturing import capture, refuse_lost
from fourier_trainers.keras.state import found_state


class AdapterCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Writes the adapter after an epoch that was better than all before.

    Attributes:
        path: The file.
        best: The best value of `monitor` so far, None before the first.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        monitor: str | None = "val_loss",
        mode: Literal["min", "max"] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Takes where to write, and when.

        Args:
            path: A .fft or .fft.h5 file, which is written over.
            monitor: What of `fit`'s logs is to be best; None writes every epoch's adapter.
            mode: Whether the best is the least or the largest; None says it by the name of a loss,
                an error, or one of Keras's usual metrics.
            metadata: Free JSON to put into the file.

        Raises:
            UsageError: The mode is none of these, or has to be given; or the file's folder does
                not exist.
        """
        super().__init__()
        self.path: Final = Path(path)
        self.best: float | None = None
        self._monitor: Final = monitor
        self._metadata: Final = metadata
        if mode not in {None, "min", "max"}:
            problem, expected = "not a mode", "min, max or None"
            raise UsageError(Violation("E-USAGE", "mode", problem, repr(mode), expected))
        if not self.path.parent.is_dir():
            problem, where = "there is no such folder", str(self.path.parent)
            raise UsageError(Violation("E-USAGE", where, problem, advice="make it first"))
        self._sign: Final = 1 if (mode or _mode_of(monitor)) == "max" else -1

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002 - Keras's signature
        """Refuse a model without an adapter before it is trained.

        Raises:
            UsageError: None is attached, or nothing of it is trained.
            BaseMismatchError: A weight is trained that would not be in the adapter.
        """
        _, state = found_state(self.model)
        refuse_lost(self.model, state)
        trained = {id(v) for v in self.model.trainable_variables}
        if not any(id(site.layer.fourier.coefficients) in trained for site in state.sites):
            problem, advice = "no coefficient of the adapter is trained", "set trainable = True"
            raise UsageError(Violation("E-USAGE", self.model.name, problem, advice=advice))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - the same
        """Write the adapter, if it is the best so far.

        Raises:
            UsageError: The logs have no such figure.
        """
        if self._monitor is not None:
            value = _figure(logs or {}, self._monitor)
            if math.isnan(value):
                return
            if self.best is not None and self._sign * value <= self._sign * self.best:
                return
            self.best = value
        adapter = capture(self.model, metadata=self._metadata)
        fourier_format.save(adapter, self.path, overwrite=True)


_LEAST: Final = ("loss", "error", "mse", "mae", "mape", "msle", "entropy", "divergence", "perplex")
_LARGEST: Final = (
    "acc",
    "auc",
    "precision",
    "recall",
    "f1",
    "fbeta",
    "f_beta",
    "iou",
    "io_u",
    "r2",
)


def _mode_of(monitor: str | None) -> Literal["min", "max"]:
    """Returns whether the best of `monitor` is the least or the largest, by its name.

    Raises:
        UsageError: The name does not say it.
    """
    name = (monitor or "loss").lower()
    least, largest = (any(word in name for word in words) for words in (_LEAST, _LARGEST))
    if least == largest:
        problem, expected = "whether the least or the largest is best is not clear", "min or max"
        raise UsageError(Violation("E-USAGE", "mode", problem, monitor, expected))
    return "min" if least else "max"


def _figure(logs: Mapping[str, Any], monitor: str) -> float:
    if monitor not in logs:
        problem, listed = "fit reports no figure of this name", "one of: " + ", ".join(logs)
        advice = "give fit validation_data, or another monitor, or None"
        raise UsageError(Violation("E-USAGE", "monitor", problem, monitor, listed, advice))
    return float(logs[monitor])
