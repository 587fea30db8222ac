"""What exporters print and warn of, and no user can do anything about."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Final

_LOGGERS: Final = ("absl", "onnx_ir", "onnxscript", "tensorflow", "tf2onnx", "torch")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences the exporters' warnings and loggers in the block; errors are still raised."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    loggers += [logging.getLogger("torch.onnx"), logging.getLogger("torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
