from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from fourier_format.adapter import Array
from fourier_trainers.keras import capture, detach
from tests import tolerances
from tests.fourier_trainers.keras import models

ROOT = Path(__file__).parents[3]


def trained() -> Array:
    """Returns the coefficients after a few steps on whatever the devices are."""
    model = models.attached(models.attention(), "query", "inner", modules_to_save=("head",))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.5), loss, jit_compile=models.BACKEND == "jax")
    x, y = models.ids(8), models.classes(8, 3)
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
    return np.concatenate([s.coefficients.ravel() for s in capture(model).entry_sets])


def assert_near(found: Array, expected: Array) -> None:
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerances.KERAS_STEPS_F32 * scale)


MIRRORED = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)

from tests.fourier_trainers.keras import test_distributing

one = test_distributing.trained()
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
with strategy.scope():
    both = test_distributing.trained()
test_distributing.assert_near(both, one)
print("as one device")
"""

if models.BACKEND == "tensorflow":

    def test_two_mirrored_devices_train_as_one() -> None:
        # Devices are made before TensorFlow is first used.
        command = [sys.executable, "-c", MIRRORED]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)

        assert done.stdout.strip().endswith("as one device"), done.stdout + done.stderr[-4000:]


if models.BACKEND == "jax":

    def distribution(kind: str) -> Any:
        devices = keras.distribution.list_devices()
        assert len(devices) == 2
        if kind == "data":
            return keras.distribution.DataParallel(devices=devices)
        mesh = keras.distribution.DeviceMesh((1, 2), ["batch", "model"], devices)
        layout = keras.distribution.LayoutMap(mesh)
        layout["attend/query/kernel"] = (None, "model", None)
        layout["inner/kernel"] = (None, "model")
        return keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")

    @pytest.mark.parametrize("kind", ["data", "model"])
    def test_two_devices_of_keras_distribution_train_as_one(kind: str) -> None:
        expected = trained()
        keras.distribution.set_distribution(distribution(kind))
        try:
            found = trained()
            model = models.attention()
            before = models.look(model)
            detach(models.attached(model, "query", "inner"))
            assert models.look(model) == before
            kernel = model.get_layer("attend").query_dense.kernel.value
        finally:
            keras.distribution.set_distribution(None)

        assert len(kernel.sharding.device_set) == 2
        assert kernel.sharding.is_fully_replicated == (kind == "data")
        assert_near(found, expected)
