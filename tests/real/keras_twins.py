"""MiniLM in Keras, adapted there or with an adapter of PyTorch's; a program, run for each backend.

    KERAS_BACKEND=jax python -m tests.real.keras_twins train ADAPTER.fft OUTPUTS.npz
    KERAS_BACKEND=jax python -m tests.real.keras_twins load ADAPTER.fft OUTPUTS.npz

Needs examples/keras_text on PYTHONPATH.
"""
# ruff: noqa: TID251 -- Keras is what is looked at

import sys
from typing import Any

import keras
import minilm
import numpy as np

import fourier_format
from fourier_trainers.keras import FourierConfig, attach, capture, load_adapter
from tests.examples.sentences import FIRST, LENGTH, SECOND

_STEPS = 3
_HEAD = {"classifier.weight": "head/kernel", "classifier.bias": "head/bias"}


def _classifier() -> Any:
    """MiniLM with a head over the pooled output; the same weights at every call."""
    bert = minilm.backbone(dropout=0.0)
    head = keras.layers.Dense(3, name="head", kernel_initializer=keras.initializers.Ones())
    return keras.Model(bert.input, head(bert(bert.input)["pooled_output"]), name="classifier")


def main(task: str, adapter: str, path: str) -> None:
    """Train an adapter, or load one; write what the model computes."""
    model, tokens = _classifier(), minilm.tokenize(FIRST, SECOND, length=LENGTH)
    base = model.predict(tokens, verbose=0)
    if task == "train":
        wanted = ("query", "value", "attention_output", "feedforward_intermediate_dense")
        config = FourierConfig(
            target_modules=wanted, n=300, alpha=100.0, gain=30.0, modules_to_save=("head",)
        )
        attach(model, config)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-2), loss=loss)
        model.fit(tokens, np.arange(3), epochs=_STEPS, verbose=0)
        fourier_format.save(capture(model), adapter)
    else:
        load_adapter(model, adapter, replacements=_HEAD)
    np.savez(path, base=base, adapted=model.predict(tokens, verbose=0), allow_pickle=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
