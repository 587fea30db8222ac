"""A backend that cannot train, and a Keras without an operation, are refused by name."""

from __future__ import annotations

import os
import subprocess
import sys

import keras
import pytest

from fourier_format.errors import UnsupportedError
from fourier_trainers.keras import FourierConfig, attach

_ATTACH = """
import keras
from fourier_format.errors import UnsupportedError
from fourier_trainers.keras import FourierConfig, attach
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="first")])
try:
    attach(model, FourierConfig(target_modules=("first",), n=2))
except UnsupportedError as error:
    print(error)
"""


def test_a_backend_without_gradients_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ATTACH],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": "numpy"},
    )

    assert "KERAS_BACKEND: this backend of Keras computes no gradients (got numpy" in done.stdout


def test_a_keras_without_an_operation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="first")])
    monkeypatch.delattr(keras.ops, "irfft")

    with pytest.raises(UnsupportedError, match=r"no keras\.ops\.irfft"):
        attach(model, FourierConfig(target_modules=("first",), n=2))

    assert type(model) is keras.Sequential
