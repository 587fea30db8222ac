"""Keras reads its backend once a process: here it is TensorFlow, unless KERAS_BACKEND says other.

KERAS_BACKEND=jax python -m pytest tests/fourier_trainers/keras
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# Two devices, for what is distributed over them.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
