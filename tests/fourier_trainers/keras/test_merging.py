from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import fourier_format
from fourier_format.errors import UsageError
from fourier_trainers.keras import Explicit, FourierModel, capture, detach, merge, unmerge
from tests import tolerances
from tests.fourier_trainers.keras import models


@pytest.mark.parametrize("family", sorted(models.FAMILIES))
def test_a_merged_model_computes_the_same_and_unmerging_is_exact(family: str) -> None:
    make, targets, inputs = models.FAMILIES[family]
    model, x = make(), inputs()
    base = models.weights(model)
    models.attached(model, *targets)
    before, y = models.look(model), models.predict(model, x)
    adapter = fourier_format.to_bytes(capture(model))

    assert merge(model) is model
    merged = models.predict(model, x)
    assert not any(name.endswith("fourier/coefficients") for name in models.weights(model))
    unmerge(model)

    bound = tolerances.TRAINED_OUTPUT_F32 * np.abs(y).max()
    np.testing.assert_allclose(merged, y, rtol=0, atol=bound)
    assert models.look(model) == before
    assert fourier_format.to_bytes(capture(model)) == adapter
    assert np.array_equal(models.predict(model, x), y)
    detach(model)
    assert {n: v.tobytes() for n, v in models.weights(model).items()} == {
        n: v.tobytes() for n, v in base.items()
    }


def test_a_merged_weight_is_the_exact_sum_rounded_once() -> None:
    model = models.functional()
    kernel = models.weights(model)["first/kernel"].astype(np.float64)
    models.attached(model, "first")
    adapter = capture(model)
    entries, coefficients = adapter.entry_sets[0].entries, adapter.entry_sets[0].coefficients[0]

    merge(model)

    spectrum = np.zeros((12, 8))
    spectrum[entries[:, 0], entries[:, 1]] = coefficients
    exact = kernel + adapter.alpha * np.fft.ifft2(spectrum).real.T
    found = models.weights(model)["first/kernel"]
    assert np.abs(found - exact).max() <= np.spacing(np.abs(exact).astype(np.float32)).max() / 2


def test_a_merged_weight_is_rounded_once_to_bfloat16() -> None:
    """1 + 2^-8 + 2^-30 is 1.0078 in bfloat16; by way of float32 it would be 1."""
    first = keras.layers.Dense(12, kernel_initializer="ones", name="first", dtype="bfloat16")
    model = keras.Sequential([keras.Input((8,)), first])
    constant = Explicit({(12, 8): np.zeros((1, 2), np.int32)})
    models.attached(model, "first", n=1, alpha=96.0, entries=constant)
    first.fourier.coefficients.assign([2.0**-8 + 2.0**-30])

    merge(model)

    assert (models.weights(model)["first/kernel"] == 1.0078125).all()


PLAIN = """
import sys
import keras
import numpy as np

assert not any(name.startswith("fourier") for name in sys.modules)
model = keras.saving.load_model(sys.argv[1])
y = model(np.load(sys.argv[2]), training=False)
np.save(sys.argv[3], keras.ops.convert_to_numpy(y))
"""


def test_a_merged_model_is_saved_as_a_plain_one_that_keras_alone_loads(tmp_path: Path) -> None:
    model, x = models.attention(), models.ids()
    models.attached(model, "query", "value", "inner", "tokens", modules_to_save=("head",))
    model.get_layer("head").bias.assign([1.0, 2.0, 3.0])
    merge(model)
    model.save(tmp_path / "merged.keras")
    np.save(tmp_path / "x.npy", x)

    command = [sys.executable, "-W", "error::UserWarning", "-c", PLAIN]
    paths = [str(tmp_path / name) for name in ("merged.keras", "x.npy", "y.npy")]
    environment = os.environ | {"KERAS_BACKEND": models.BACKEND, "PYTHONPATH": ""}
    done = subprocess.run(
        [*command, *paths],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert np.array_equal(np.load(tmp_path / "y.npy"), models.predict(model, x))


def test_merged_weights_load_into_a_fresh_base(tmp_path: Path) -> None:
    model, x = models.attention(), models.ids()
    merge(models.attached(model, "query", "inner"))

    model.save_weights(tmp_path / "merged.weights.h5")
    fresh = models.attention(seed=9)
    fresh.load_weights(tmp_path / "merged.weights.h5")

    assert np.array_equal(models.predict(fresh, x), models.predict(model, x))


def test_a_merged_model_is_cloned_as_a_plain_one() -> None:
    model = merge(models.attached(models.functional(), "first"))

    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())

    x = models.array(3, 8)
    assert np.array_equal(models.predict(clone, x), models.predict(model, x))


def test_what_a_merged_model_cannot_do_says_to_unmerge() -> None:
    model = models.attached(models.functional(), "first")
    with pytest.raises(UsageError, match="nothing is merged"):
        unmerge(model)
    merge(model)
    before = models.look(model)

    with pytest.raises(UsageError, match="merged already"):
        merge(model)
    with pytest.raises(UsageError, match=r"delta weights are merged; unmerge\(model\) first"):
        detach(model)
    with pytest.raises(UsageError, match="merged, so that it can be saved by itself"):
        FourierModel(model)
    with pytest.raises(UsageError, match="attached already"):
        models.attached(model, "second")

    assert models.look(model) == before


def test_training_goes_on_after_unmerging() -> None:
    model, x = models.functional(), models.array(4, 8)
    models.attached(model, "first")
    models.fitted(model, x, 6)
    before = capture(model)
    unmerge(merge(model))

    models.fitted(model, x, 6)

    assert not np.array_equal(
        capture(model).entry_sets[0].coefficients, before.entry_sets[0].coefficients
    )
