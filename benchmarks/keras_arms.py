"""What `keras_step.py` compares: one `train_on_batch` of a base, Keras's LoRA and ours.

It runs in that script's children, which have set the backend.
"""
# ruff: noqa: TID251 -- the peer

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import keras
import numpy as np
from keras_hub.models import BertBackbone
from measure import Json, interleaved, peak_mib, settled_mib, timed

from fourier_trainers.keras import FourierConfig, attach

RANK: Final = 8
ALPHA: Final = 150.0
LEARNING_RATE: Final = 1e-4
SEED: Final = 0
WARMUPS: Final = 3
MEMORY_STEPS: Final = 3


class Case(NamedTuple):
    """A model, and how much goes through it in a step; `layers` is 0 for one Dense."""

    width: int
    layers: int
    heads: int
    vocabulary: int
    batch: int
    tokens: int

    @property
    def adapted_layers(self) -> int:
        return 2 * self.layers or 1


class Setup(NamedTuple):
    """All that the arms of a case have in common; `mode` is "eager" or "jit"."""

    case: Case
    mode: str
    n: int


CASES: Final[Mapping[str, Case]] = {
    "minilm": Case(384, 6, 12, 30522, 16, 64),
    "bert_base": Case(768, 4, 12, 512, 8, 64),  # a third of its layers: they are all alike
    "dense_2048": Case(2048, 0, 0, 0, 1, 256),
    "dense_4096": Case(4096, 0, 0, 0, 1, 256),
}


def case_of(name: str, *, smoke: bool = False) -> Case:
    """The case, or one so small that it only tries the script."""
    case = CASES[name]
    if not smoke:
        return case
    layers, heads = min(case.layers, 1), min(case.heads, 4)
    return Case(width=32, layers=layers, heads=heads, vocabulary=97, batch=2, tokens=8)


class Shift(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Adds a trained vector, so that the gradient goes on behind the layer that is measured."""

    def build(self, shape: Any) -> None:
        self.shift = self.add_weight(shape=(shape[-1],), initializer="zeros", name="shift")

    def call(self, inputs: Any) -> Any:
        return inputs + self.shift


def times(arms: Sequence[str], setup: Setup, runs: int) -> Json:
    """Time steps of all arms in turn, in this process."""
    steps = {arm: Step(arm, _base(setup.case), setup) for arm in arms}
    jobs: dict[str, Callable[[], Any]] = {
        arm: functools.partial(timed, step) for arm, step in steps.items()
    }
    calls = interleaved(jobs, runs, WARMUPS)
    described = setup.case._asdict() | {"adapted_layers": setup.case.adapted_layers}
    return {
        "case": described | {"backend": keras.backend.backend(), "mode": setup.mode},
        "arms": {arm: {"calls": calls[arm]} | step.facts() for arm, step in steps.items()},
    }


def memory(arm: str, setup: Setup) -> Json:
    """The peak memory of the first steps of an arm that has this process to itself.

    With tracing and compiling: what an allocator keeps of them cannot be told from what steps need.
    """
    base = _base(setup.case)
    without = settled_mib()
    step = Step(arm, base, setup)
    for _ in range(MEMORY_STEPS):
        step()
    peak = peak_mib()
    step.facts()
    return {"peak_mib": peak, "above_base_mib": peak - without}


class Step:
    """A training step of one arm: `train_on_batch` with AdamW, on the same numbers each time."""

    def __init__(self, arm: str, model: Any, setup: Setup) -> None:
        self.model = model
        _adapt(arm, model, setup)
        self.inputs, self.aim = _numbers(setup.case)
        model.compile(
            keras.optimizers.AdamW(LEARNING_RATE),
            loss="mean_squared_error",
            run_eagerly=setup.mode == "eager",
            jit_compile=setup.mode == "jit",
        )
        self.last = math.nan

    def __call__(self) -> None:
        self.last = float(self.model.train_on_batch(self.inputs, self.aim))  # waits for the loss

    def facts(self) -> Json:
        """The number of trained parameters, and proof that they were trained on numbers."""
        assert math.isfinite(self.last)
        count = sum(math.prod(variable.shape) for variable in self.model.trainable_variables)
        return {"trained_parameters": count, "loss": self.last}


def _base(case: Case) -> Any:
    """The base, the same random weights each time, without dropout."""
    keras.utils.set_random_seed(SEED)
    if not case.layers:
        inputs = keras.Input((case.tokens, case.width), batch_size=case.batch)
        outputs = keras.layers.Dense(case.width, name="value")(Shift(name="shift")(inputs))
        return keras.Model(inputs, outputs)
    backbone = BertBackbone(
        vocabulary_size=case.vocabulary,
        num_layers=case.layers,
        num_heads=case.heads,
        hidden_dim=case.width,
        intermediate_dim=4 * case.width,
        dropout=0.0,
        max_sequence_length=max(512, case.tokens),
    )
    return keras.Model(backbone.inputs, backbone.outputs[_sequence(backbone)])


def _sequence(backbone: Any) -> int:
    """Where among a backbone's outputs the last hidden state is: the one with three axes."""
    return next(k for k, output in enumerate(backbone.outputs) if len(output.shape) == 3)


def _adapt(arm: str, model: Any, setup: Setup) -> None:
    """Freeze a base, and put an arm's adapter on it.

    The base trains the biases of the first targets, or nothing would be left of its backward pass.
    """
    names = ("query", "value") if setup.case.layers else ("value",)
    targets = [layer for layer in model._flatten_layers() if layer.name in names]  # noqa: SLF001 - public nowhere
    assert len(targets) == setup.case.adapted_layers
    whole = () if setup.case.layers else ("shift",)
    if arm == "ours":
        config = FourierConfig(
            target_modules=names, n=setup.n, alpha=ALPHA, modules_to_save=whole, init="normal"
        )
        attach(model, config)
        return
    for variable in model.variables:
        variable.trainable = False
    for layer in targets:
        if arm == "lora":
            layer.enable_lora(RANK)
    trained = [model.get_layer(name).shift for name in whole]
    if arm == "base":
        trained += [layer.bias for layer in targets[:2]] if setup.case.layers else []
    for variable in trained:
        variable.trainable = True


def _numbers(case: Case) -> tuple[Any, Any]:
    """A batch, and what the last hidden state is to become: the loss needs no head."""
    random = np.random.default_rng(SEED)
    size = (case.batch, case.tokens)
    aim = random.standard_normal((*size, case.width), np.float32)
    if not case.layers:
        return random.standard_normal((*size, case.width), np.float32), aim
    ids = random.integers(1, case.vocabulary, size, np.int32)
    return {
        "token_ids": ids,
        "segment_ids": np.zeros(size, np.int32),
        "padding_mask": np.ones(size, np.int32),
    }, aim
