"""Quantised weights: codes, scales and zero points, of which value = (code - zero point) * scale.

Scales belong to the whole tensor, to the slices of one axis, or to blocks along one axis. What
differs between operators is only how codes and zero points are packed (ONNX DequantizeLinear;
ONNX Runtime's docs/ContribOperators.md, MatMulNBits).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fourier_converters.onnx.model import Model, Value
from fourier_format.adapter import Array


@dataclass(frozen=True, slots=True)
class Quantized:
    """Where a quantised weight lies and how it is to be understood.

    Attributes:
        scheme: In words, for reports.
        codes: The tensor of codes.
        scale: The tensor of scales.
        zero: The tensor of zero points, None where there is none.
        shape: The shape of the values.
        axis: The axis that scales belong to, None for one scale.
        block: How many slices of the axis share one scale.
        bits: The width of a packed code, of MatMulNBits; 0 where codes are not packed.
        computed: The dtype in which the values come out, "" for that of the scales.
    """

    scheme: str
    codes: Value
    scale: Value
    zero: Value | None
    shape: tuple[int, ...]
    axis: int | None
    block: int = 1
    bits: int = 0
    computed: str = ""

    @property
    def tensors(self) -> tuple[Value, ...]:
        """The stored tensors."""
        return (
            (self.codes, self.scale) if self.zero is None else (self.codes, self.scale, self.zero)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """A quantised weight unpacked.

    Attributes:
        codes: Integers, in the shape of the values.
        scale: float32, one a group, in the shape of the groups.
        zero: int32 or float32, in the shape of the groups.
        lowest: The smallest code.
        highest: The largest code.
    """

    codes: Array
    scale: Array
    zero: Array
    lowest: int
    highest: int


def dequantized(quantized: Quantized, model: Model) -> Array:
    """Returns the float32 values, in `quantized.shape`."""
    levels = unpack(quantized, model)
    zero = spread(levels.zero, quantized).astype(np.float32)
    values: Array = levels.codes.astype(np.float32) - zero
    values *= spread(levels.scale, quantized)
    return values


def dequantized_at(quantized: Quantized, model: Model, index: tuple[Array, ...]) -> Array:
    """Returns the float32 values at `index` alone; packed codes are not unpacked as a whole."""
    if not quantized.bits:
        groups = unpack(quantized, model)
        codes = groups.codes[index].astype(np.float32)
        scale, zero = groups.scale, groups.zero
    else:
        codes, scale, zero = _bits_at(quantized, model, index)
    at = tuple(
        (i // quantized.block if axis == quantized.axis else np.zeros_like(i))
        if scale.shape[axis] != quantized.shape[axis] or axis == quantized.axis
        else i
        for axis, i in enumerate(index)
    )
    values: Array = (codes - zero[at].astype(np.float32)) * scale[at]
    return values


def unpack(quantized: Quantized, model: Model) -> Levels:
    """Returns the codes, scales and zero points as plain arrays."""
    codes, scale = model.array(quantized.codes), model.array(quantized.scale).astype(np.float32)
    zero = None if quantized.zero is None else model.array(quantized.zero)
    if quantized.bits:
        return _unpack_bits(quantized, codes, scale, zero)
    tensor = model.tensor(quantized.codes)
    groups = group_shape(quantized)
    limits = _limits(codes, four_bits=tensor is not None and tensor.data_type in {21, 22})
    zeros = np.zeros(1, np.int32) if zero is None else zero.astype(np.int32)
    return Levels(
        codes,
        np.broadcast_to(scale.reshape(groups), groups),
        np.broadcast_to(zeros.reshape(groups if zeros.size > 1 else (1,) * len(groups)), groups),
        *limits,
    )


def group_shape(quantized: Quantized) -> tuple[int, ...]:
    """Returns the shape of the scales, one a group, with as many axes as the values have."""
    if quantized.axis is None:
        return (1,) * len(quantized.shape)
    if quantized.block > 1:
        shape = list(quantized.shape)
        shape[quantized.axis] = -(-shape[quantized.axis] // quantized.block)
        return tuple(shape)
    return tuple(n if i == quantized.axis else 1 for i, n in enumerate(quantized.shape))


def spread(groups: Array, quantized: Quantized) -> Array:
    """Returns one number a group as an array that broadcasts to the shape of the values."""
    if quantized.axis is None or quantized.block == 1:
        return groups
    group = np.arange(quantized.shape[quantized.axis]) // quantized.block
    return np.take(groups, group, axis=quantized.axis)


def pack(levels: Levels, quantized: Quantized) -> tuple[Array, Array, Array | None]:
    """Returns codes, scales and zero points as `quantized` stores them, in flat stored order."""
    zero = None if quantized.zero is None else levels.zero
    if not quantized.bits:
        return levels.codes, levels.scale, zero
    rows, columns = quantized.shape
    blocks = -(-columns // quantized.block)
    codes = np.zeros((rows, blocks * quantized.block), np.uint8)
    codes[:, :columns] = levels.codes
    if zero is not None and not np.issubdtype(zero.dtype, np.floating):
        zero = _packed(zero.astype(np.uint8), quantized.bits)
    return _packed(codes, quantized.bits), levels.scale, zero


def _unpack_bits(quantized: Quantized, codes: Array, scale: Array, zero: Array | None) -> Levels:
    """MatMulNBits: codes (N, blocks, bytes) of rows of K values, the low bits first."""
    rows, columns = quantized.shape
    blocks, bits = -(-columns // quantized.block), quantized.bits
    whole = _unpacked(codes.reshape(rows, -1), bits)[:, :columns]  # (N, K)
    if zero is None:
        zeros: Array = np.full((rows, blocks), 2 ** (bits - 1), np.int32)
    elif np.issubdtype(zero.dtype, np.integer):
        zeros = _unpacked(zero.reshape(rows, -1), bits)[:, :blocks].astype(np.int32)
    else:
        zeros = zero.reshape(rows, blocks).astype(np.float32)
    return Levels(whole, scale.reshape(rows, blocks), zeros, 0, 2**bits - 1)


def _bits_at(
    quantized: Quantized, model: Model, index: tuple[Array, ...]
) -> tuple[Array, Array, Array]:
    rows, columns = index
    stored = model.array(quantized.codes).reshape(quantized.shape[0], -1)
    each = 8 // quantized.bits
    shifted = stored[rows, columns // each] >> (columns % each * quantized.bits).astype(np.uint8)
    codes = (shifted & (2**quantized.bits - 1)).astype(np.float32)
    nothing = np.zeros((quantized.shape[0], 0), np.uint8)
    scale = model.array(quantized.scale).astype(np.float32)
    zero = None if quantized.zero is None else model.array(quantized.zero)
    levels = _unpack_bits(quantized, nothing, scale, zero)
    return codes, levels.scale, levels.zero


def _unpacked(packed: Array, bits: int) -> Array:
    """Returns (rows, bytes) as (rows, codes), uint8."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = packed[:, :, None] >> shifts & (2**bits - 1)  # (rows, bytes, codes in a byte)
    flat: Array = codes.reshape(packed.shape[0], -1).astype(np.uint8)
    return flat


def _packed(codes: Array, bits: int) -> Array:
    """Returns (rows, codes) as (rows, bytes), the last byte filled with zeros."""
    each = 8 // bits
    padded = np.zeros((codes.shape[0], -(-codes.shape[1] // each) * each), np.uint8)
    padded[:, : codes.shape[1]] = codes
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    shifted = padded.reshape(codes.shape[0], -1, each) << shifts  # (rows, bytes, codes in a byte)
    joined: Array = np.bitwise_or.reduce(shifted, axis=2).astype(np.uint8)
    return joined


def _limits(codes: Array, *, four_bits: bool) -> tuple[int, int]:
    if four_bits:
        return (-8, 7) if np.issubdtype(codes.dtype, np.signedinteger) else (0, 15)
    info = np.iinfo(codes.dtype)
    return int(info.min), int(info.max)
