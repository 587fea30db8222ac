"""Two-dimensional convolutions with a delta weight, through the weight or through patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fourier_trainers.torch.spectral import arithmetic, functions
from fourier_trainers.torch.spectral.basis import Basis
from fourier_trainers.torch.spectral.functions import Terms


class Geometry(NamedTuple):
    """What a convolution does beside its weight.

    Attributes:
        kernel: (kh, kw).
        stride: Steps of the two axes.
        padding: (left, right, top, bottom), as `functional.pad` takes it.
        padding_mode: "zeros", "reflect", "replicate" or "circular".
        dilation: Of the two axes.
        groups: g.
        out: O, the output channels.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, ...]
    padding_mode: str
    dilation: tuple[int, int]
    groups: int
    out: int


def conv2d(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, terms: Terms, geometry: Geometry
) -> Tensor:
    """Returns the convolution of x (b, I, h, w) or (I, h, w) with weight + delta.

    Args:
        x: The input.
        weight: (O, I/g, kh, kw); None for the delta weight alone.
        bias: (O,) or None.
        terms: What the delta weight consists of; at least one.
        geometry: The rest.
    """
    bases = tuple(basis for basis, _ in terms)
    scaled = tuple(values for _, values in terms)
    padded, rest = _padded(x if x.dim() == 4 else x.unsqueeze(0), geometry)
    y: Tensor = _Conv2d.apply(rest, bases, padded, weight, bias, *scaled)
    return y if x.dim() == 4 else y.squeeze(0)


def by_patches(x: Tensor, terms: Terms, geometry: Geometry) -> Tensor:
    """Returns the convolution with delta alone, g = 1, as a product with the input's patches."""
    padded, rest = _padded(x if x.dim() == 4 else x.unsqueeze(0), geometry)
    padding = (rest.padding[2], rest.padding[0])
    patches = functional.unfold(padded, rest.kernel, rest.dilation, padding, rest.stride)
    flat = functions.linear(patches.transpose(1, 2), None, None, terms, "activation")  # (b, l, O)
    sizes = [
        (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        for size, pad, dilation, kernel, stride in zip(
            padded.shape[2:], padding, rest.dilation, rest.kernel, rest.stride, strict=True
        )
    ]
    y: Tensor = flat.transpose(1, 2).unflatten(2, sizes)
    return y if x.dim() == 4 else y.squeeze(0)


def _padded(x: Tensor, geometry: Geometry) -> tuple[Tensor, Geometry]:
    """Returns the input with all padding done that the convolution itself cannot do."""
    left, right, top, bottom = geometry.padding
    if geometry.padding_mode == "zeros" and left == right and top == bottom:
        return x, geometry
    mode = "constant" if geometry.padding_mode == "zeros" else geometry.padding_mode
    padded = functional.pad(x, geometry.padding, mode=mode).to(x.dtype)  # autocast widens it
    return padded, geometry._replace(padding=(0, 0, 0, 0), padding_mode="zeros")


class _Conv2d(torch.autograd.Function):
    """See `conv2d`; W + delta is not kept for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        geometry: Geometry,
        bases: tuple[Basis, ...],
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        *scaled: Tensor,
    ) -> Tensor:
        ctx.geometry, ctx.bases, ctx.has_weight = geometry, bases, weight is not None
        ctx.save_for_backward(x, *(() if weight is None else (weight,)), *scaled)
        with functions.without_autocast(x):
            (kernel, scale), *others = _kernels(x, weight, bases, scaled, geometry)
            y = _times(_convolved(x, kernel, bias, geometry), scale)
            for kernel, scale in others:
                y = y.add_(_times(_convolved(x, kernel, None, geometry), scale))
        return y.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *rest = ctx.saved_tensors
        weight = rest.pop(0) if ctx.has_weight else None
        geometry: Geometry = ctx.geometry
        needs = ctx.needs_input_grad
        x_gradient = weight_gradient = None
        found: list[Tensor | None] = [None] * len(rest)
        with functions.without_autocast(x):
            for kernel, scale in _kernels(x, weight, ctx.bases, rest, geometry) if needs[2] else ():
                part = _times(_backward(gradient, x, kernel, geometry, (True, False))[0], scale)
                x_gradient = part if x_gradient is None else x_gradient.add_(part)
            if needs[3] or any(needs[5:]):
                unread = x.new_empty(1).expand(_stored_shape(x, geometry))
                weight_gradient = _backward(gradient, x, unread, geometry, (False, True))[1]
                dense = weight_gradient.flatten(1)  # (O, I/g kh kw)
                found = [
                    arithmetic.coefficient_gradient(basis, dense) if needed else None
                    for basis, needed in zip(ctx.bases, needs[5:], strict=True)
                ]
        return (
            None,
            None,
            None if x_gradient is None else x_gradient.to(x.dtype),
            weight_gradient if needs[3] else None,
            gradient.sum((0, 2, 3)) if needs[4] else None,
            *found,
        )


def _kernels(
    x: Tensor,
    weight: Tensor | None,
    bases: tuple[Basis, ...],
    scaled: Sequence[Tensor],
    geometry: Geometry,
) -> list[tuple[Tensor, Tensor | None]]:
    """Returns kernels (O, I/g, kh, kw) in the dtype of x, with scales, whose outputs are added up.

    One is enough where weight + delta is not rounded to half precision.
    """
    terms = list(zip(bases, scaled, strict=True))
    if weight is not None and weight.dtype.itemsize >= 4:
        return [(functions.summed(weight.flatten(1), terms).view(weight.shape), None)]
    kernel, scale = functions.rounded(functions.dense(terms), x.dtype)
    alone = kernel.view(_stored_shape(x, geometry)), scale
    return [alone] if weight is None else [(weight, None), alone]


def _convolved(x: Tensor, kernel: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    return functional.conv2d(
        x,
        kernel,
        bias,
        geometry.stride,
        (geometry.padding[2], geometry.padding[0]),
        geometry.dilation,
        geometry.groups,
    )


def _backward(
    gradient: Tensor, x: Tensor, kernel: Tensor, geometry: Geometry, wanted: tuple[bool, bool]
) -> tuple[Any, Any]:
    """Returns the gradients of x and of the kernel, those that are wanted."""
    x_gradient, kernel_gradient, _ = torch.ops.aten.convolution_backward(
        gradient,
        x,
        kernel,
        None,
        geometry.stride,
        (geometry.padding[2], geometry.padding[0]),
        geometry.dilation,
        False,  # not transposed
        (0, 0),
        geometry.groups,
        (*wanted, False),
    )
    return x_gradient, kernel_gradient


def _times(values: Tensor, scale: Tensor | None) -> Tensor:
    return values if scale is None else values.float().mul_(scale)


def _stored_shape(x: Tensor, geometry: Geometry) -> tuple[int, ...]:
    return geometry.out, x.shape[1] // geometry.groups, *geometry.kernel
