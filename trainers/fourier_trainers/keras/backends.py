"""Which of Keras's backends can train, and whether this version of Keras has what is needed."""

from __future__ import annotations

from typing import Final

import keras

from fourier_format.errors import UnsupportedError, Violation

TRAINING: Final = ("tensorflow", "jax", "torch")

_OPS: Final = ("rfft", "irfft", "scatter_update", "take", "custom_gradient")
_PRIVATE: Final = ("_flatten_layers", "_check_quantize_args")
"""What Keras does not document, and no other way is known to."""


def refuse_backend() -> None:
    """Refuse a backend that has no gradients, or a Keras that lacks an operation.

    Raises:
        UnsupportedError: It names the backend, or the operation.
    """
    name = keras.config.backend()
    if name not in TRAINING:
        problem, expected = "this backend of Keras computes no gradients", " or ".join(TRAINING)
        advice = "set KERAS_BACKEND before Keras is imported"
        where = "KERAS_BACKEND"
        raise UnsupportedError(
            Violation("E-BASE-UNSUPPORTED", where, problem, name, expected, advice)
        )
    missing = [f"keras.ops.{op}" for op in _OPS if not hasattr(keras.ops, op)]
    missing += [f"Layer.{name}" for name in _PRIVATE if not hasattr(keras.layers.Layer, name)]
    if missing:
        problem, got = f"this version of Keras has no {missing[0]}", keras.__version__
        raise UnsupportedError(
            Violation("E-BASE-UNSUPPORTED", "keras", problem, got, "3.15 or later")
        )
