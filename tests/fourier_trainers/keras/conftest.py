"""Keras reads its backend once a process: here it is TensorFlow, unless KERAS_BACKEND says other.

KERAS_BACKEND=jax python -m pytest tests/fourier_trainers/keras
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# Two devices, for what is distributed over them.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

_HERE = Path(__file__).parent
_OF_KERAS = (
    # Keras makes NumPy's arrays of torch's tensors by a protocol of which NumPy 2 wants more.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the warnings that Keras causes by itself."""
    for item in items:
        if _HERE in item.path.parents:
            for warning in _OF_KERAS:
                item.add_marker(pytest.mark.filterwarnings(warning))
