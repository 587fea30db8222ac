"""Where new values go: what a change is written through, whatever becomes of the model."""

from __future__ import annotations

from typing import Any, Protocol

from fourier_converters.onnx.model import Model
from fourier_converters.onnx.tensors import set_values
from fourier_format.adapter import Array


class Store(Protocol):
    """Takes the values of tensors; keeps none of them in the ModelProto that are large."""

    def replace(self, tensor: Any, values: Array) -> None:
        """Give a tensor of the base new values of its own shape and dtype."""

    def add(self, tensor: Any, values: Array) -> None:
        """Give a tensor its values that was made by `surgery.new_initializer`."""


class Inside:
    """Keeps all new values in the ModelProto, for graphs whose new values are few."""

    def replace(self, tensor: Any, values: Array) -> None:
        """Put the values inside."""
        set_values(tensor, values)

    def add(self, tensor: Any, values: Array) -> None:
        """Put the values inside."""
        set_values(tensor, values)


class Discarding:
    """Keeps nothing: for a dry run."""

    def __init__(self, model: Model) -> None:
        """Takes the model, whose small new tensors are filled, as they are read again."""
        self._model = model

    def replace(self, tensor: Any, values: Array) -> None:
        """Do nothing."""

    def add(self, tensor: Any, values: Array) -> None:
        """Do nothing but for shapes and sizes."""
        if values.nbytes <= INLINE_LIMIT:
            set_values(tensor, values)


INLINE_LIMIT = 1024
"""Bytes up to which a new tensor is put inside the .onnx file."""
