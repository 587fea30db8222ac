"""What the command offers, without loading a converter, is what the converters take."""

from __future__ import annotations

from typing import get_args

from fourier_converters import cli
from fourier_converters.onnx.applying import QuantizedMode
from fourier_converters.onnx.convert import ExternalData


def test_the_command_offers_what_the_converter_takes() -> None:
    assert get_args(QuantizedMode) == cli._QUANTIZED
    assert get_args(ExternalData) == cli._EXTERNAL
