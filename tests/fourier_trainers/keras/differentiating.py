"""Outputs and gradients of a function of arrays, by what differentiates on this process's backend.

float64 needs a switch of JAX's, which is on inside here alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from fourier_format.adapter import Array

BACKEND: str = keras.backend.backend()
COMPILED: tuple[bool, ...] = (False,) if BACKEND == "torch" else (False, True)
"""Whether a function is compiled by XLA: all that this backend has of it."""
USUAL: bool = BACKEND == "jax"
"""Where nothing hangs on it: JAX compiles every operation by itself otherwise, which takes long."""


class Found(NamedTuple):
    """What came out.

    Attributes:
        y: The function's value, in its own dtype.
        g: What its elements are weighted by, float64: the gradients are those of sum(g * y).
        gradients: By each floating argument, in order.
    """

    y: Array
    g: Array
    gradients: tuple[Array, ...]


def gradients(
    f: Callable[..., Any], *arrays: Array, compiled: bool = USUAL, g: Array | None = None
) -> Found:
    """Return f's value, and its gradients by each of `arrays` that is no list of integers."""
    with precise(*arrays):
        fixed = [_tensor(a) for a in arrays if a.dtype.kind in "iu"]
        floating = [_tensor(a) for a in arrays if a.dtype.kind not in "iu"]
        order = np.argsort([a.dtype.kind in "iu" for a in arrays], kind="stable")

        def moved(inputs: Sequence[Any], integers: Sequence[Any]) -> Any:
            both = [*inputs, *integers]
            return f(*(both[k] for k in np.argsort(order)))

        y, g, found = _BY[BACKEND](moved, g, floating, fixed, compiled)
        return Found(numpy_of(y), numpy_of(g).astype(np.float64), tuple(map(numpy_of, found)))


def value(f: Callable[..., Any], *arrays: Array, compiled: bool = USUAL) -> Array:
    """Return f's value alone."""
    with precise(*arrays):
        return numpy_of(_compiled(f, compiled)(*map(_tensor, arrays)))


def precise(*arrays: Array) -> contextlib.AbstractContextManager[Any]:
    """Inside, JAX has float64, if one of the arrays is."""
    if BACKEND == "jax" and any(a.dtype == np.float64 for a in arrays):
        import jax

        inside: contextlib.AbstractContextManager[Any] = jax.enable_x64(new_val=True)
        return inside
    return contextlib.nullcontext()


def weights(shape: Sequence[int]) -> Array:
    """Return what weights every element of a result differently, float64."""
    count = int(np.prod(shape))
    return np.reshape(np.sin(np.linspace(-9, 9, max(count, 1)))[:count] + 0.1, shape)


def numpy_of(tensor: Any) -> Array:
    """Return a tensor's values, bfloat16 widened to float32."""
    if BACKEND == "torch":
        tensor = tensor.detach()
        return np.asarray(tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)
    found = np.asarray(ops.convert_to_numpy(tensor))
    return found.astype(np.float32) if found.dtype.name == "bfloat16" else found


def _tensor(array: Array) -> Any:
    return ops.convert_to_tensor(array, dtype=str(array.dtype))


def _weights_of(y: Any, g: Array | None) -> Any:
    chosen = weights(y.shape) if g is None else g
    return ops.cast(ops.convert_to_tensor(chosen.astype(np.float32)), y.dtype)


def _compiled(f: Callable[..., Any], compiled: bool) -> Callable[..., Any]:
    if not compiled:
        return f
    if BACKEND == "jax":
        import jax

        return jax.jit(f)
    import tensorflow as tf

    found: Callable[..., Any] = tf.function(f, jit_compile=True, autograph=False)
    return found


def _by_tensorflow(
    f: Any, g: Array | None, floating: list[Any], fixed: list[Any], compiled: bool
) -> Any:
    import tensorflow as tf

    def step(inputs: list[Any], integers: list[Any]) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = f(inputs, integers)
        weight = _weights_of(y, g)
        return y, weight, tape.gradient(y, inputs, output_gradients=weight)

    return _compiled(step, compiled)(floating, fixed)


def _by_jax(f: Any, g: Array | None, floating: list[Any], fixed: list[Any], compiled: bool) -> Any:
    import jax

    def step(inputs: list[Any], integers: list[Any]) -> Any:
        y, pull = jax.vjp(lambda *each: f(each, integers), *inputs)
        weight = _weights_of(y, g)
        return y, weight, pull(weight)

    return _compiled(step, compiled)(floating, fixed)


def _by_torch(f: Any, g: Array | None, floating: list[Any], fixed: list[Any], _: bool) -> Any:
    import torch

    inputs = [one.requires_grad_() for one in floating]
    y = f(inputs, fixed)
    weight = _weights_of(y, g)
    return y, weight, torch.autograd.grad(y, inputs, weight)


_BY: dict[str, Callable[..., Any]] = {
    "tensorflow": _by_tensorflow,
    "jax": _by_jax,
    "torch": _by_torch,
}
