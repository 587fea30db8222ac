"""Inputs to check an export with: two batches of other sizes, and lengths where those vary."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fourier_trainers.keras.exporting.signature import Input, Signature, arrays_in

Array = NDArray[Any]
_SIZES: Final = ((3, 6, 33), (2, 9, 40))
"""Of two samples: the batch, the length of a sequence, and the sides of something larger."""
_FEW: Final = 2
"""What integers stay below that are no indices of a known vocabulary: types and masks."""


def samples_for(model: Any, signature: Signature, inputs: Any = None) -> list[list[Array]]:
    """Returns two lists of arrays, one array for each input of `signature`.

    Args:
        model: The model, whose embeddings say how large its integers may be.
        signature: What it takes.
        inputs: What the caller gave; arrays of it are the first sample.
    """
    given = arrays_in(inputs)
    if given is not None:
        first = [np.asarray(a, t.dtype) for a, t in zip(given, signature.inputs, strict=True)]
        return [first, [_varied(a, t) for a, t in zip(first, signature.inputs, strict=True)]]
    limits = _vocabularies(model, signature)
    random = np.random.default_rng(0)
    return [
        [_drawn(t, limit, sizes, random) for t, limit in zip(signature.inputs, limits, strict=True)]
        for sizes in _SIZES
    ]


def _drawn(
    tensor: Input, limit: int, sizes: tuple[int, int, int], random: np.random.Generator
) -> Array:
    """Returns an array for one input, integers below `limit`."""
    batch, length, side = sizes
    is_flat = len(tensor.shape) <= 3
    free = (length if is_flat else side + axis for axis in range(len(tensor.shape)))
    shape = [
        size if size is not None else batch if axis == 0 else wanted
        for axis, (size, wanted) in enumerate(zip(tensor.shape, free, strict=True))
    ]
    if tensor.dtype == "float32":
        return random.standard_normal(shape).astype(np.float32)
    if limit > _FEW and tensor.dtype != "bool":
        return random.integers(0, limit, shape).astype(tensor.dtype)
    drawn = random.integers(0, _FEW, shape)
    drawn[..., :1] = 1  # a row that is masked whole has no defined attention
    return drawn.astype(tensor.dtype)


def _varied(array: Array, tensor: Input) -> Array:
    """Returns an array of other sizes where they may vary: one row more, one step less."""
    for axis, size in enumerate(tensor.shape):
        if size is None and axis == 0:
            array = np.concatenate([array, array[:1]])
        elif size is None and array.shape[axis] > 1:
            array = array.take(range(array.shape[axis] - 1), axis)
    return array


def _vocabularies(model: Any, signature: Signature) -> list[int]:
    """Returns what the integers of each input must stay below.

    An embedding that reads an input itself says it. Where none is known to, it is the smallest
    vocabulary of all, so that any of them may read it.
    """
    import keras

    layers = model._flatten_layers()  # noqa: SLF001 -- `layers` names the outermost alone
    embeddings = [layer for layer in layers if isinstance(layer, keras.layers.Embedding)]
    least = min((layer.input_dim for layer in embeddings), default=_FEW)
    symbols = list(getattr(model, "inputs", None) or ())  # in the order of the signature's
    read: dict[int, int] = {}
    for layer in embeddings:
        for node in layer._inbound_nodes:  # noqa: SLF001 -- there is no other record of calls
            for symbol in node.input_tensors:
                known = read.get(id(symbol), layer.input_dim)
                read[id(symbol)] = min(known, layer.input_dim)
    known_inputs = [id(symbol) for symbol in symbols]
    if len(symbols) != len(signature.inputs) or not set(read) & set(known_inputs):
        return [_FEW if "mask" in each.name else least for each in signature.inputs]
    return [read.get(symbol, _FEW) for symbol in known_inputs]
