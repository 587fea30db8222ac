"""Delta weights and their products, with autograd.

Neither the delta weight nor its sum with the base weight is kept for the backward pass: what the
gradient of the input needs of them is computed again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from fourier_trainers.config import Path
from fourier_trainers.torch.spectral import arithmetic, cost
from fourier_trainers.torch.spectral.basis import Basis

Terms = Sequence[tuple[Basis, Tensor]]
"""Bases and their scaled coefficients, (n,): the delta weights that are added up."""

_FLOAT16_RANGE: Final = 2.0**-8, 2.0**8
"""Where a delta weight's largest element loses nothing in float16, nor its products."""


def linear(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, terms: Terms, path: Path = "auto"
) -> Tensor:
    """Returns x (weight + delta)^T + bias, (..., in) -> (..., out).

    Args:
        x: (..., in).
        weight: (out, in), of any strides; None for x delta^T alone.
        bias: (out,) or None.
        terms: What the delta weight consists of; at least one.
        path: How to compute it (`cost`).
    """
    bases = tuple(basis for basis, _ in terms)
    plan = cost.plan(
        path,
        bases[0].shape,
        sum(basis.terms * basis.count for basis in bases),
        x.numel() // max(x.shape[-1], 1),
        x.device,
        x_gradient=x.requires_grad,
        separate=weight is None or weight.dtype.itemsize < 4,
    )
    result: Tensor = _Linear.apply(plan, bases, x, weight, bias, *(scaled for _, scaled in terms))
    return result


def delta_weight(terms: Terms) -> Tensor:
    """Returns the delta weight, (out, in), in the dtype of the scaled coefficients."""
    bases = tuple(basis for basis, _ in terms)
    result: Tensor = _DeltaWeight.apply(bases, *(scaled for _, scaled in terms))
    return result


def columns(positions: Tensor, terms: Terms, dtype: torch.dtype) -> Tensor:
    """Returns columns of the delta weight, (..., out), at `positions` (...), in `dtype`."""
    bases = tuple(basis for basis, _ in terms)
    result: Tensor = _Columns.apply(bases, positions, dtype, *(scaled for _, scaled in terms))
    return result


def summed(weight: Tensor, terms: Terms) -> Tensor:
    """Returns weight + delta, (out, in), rounded once to the weight's dtype; no gradient."""
    total = weight.to(arithmetic.compute_dtype(weight.dtype), copy=True).contiguous()
    for basis, scaled in terms:
        arithmetic.add_delta_weight(total, basis, scaled)
    return total.to(weight.dtype)


def dense(terms: Terms) -> Tensor:
    """Returns the sum of the terms' delta weights, (out, in), in their dtype; no gradient."""
    delta = terms[0][1].new_zeros(terms[0][0].shape)
    for basis, scaled in terms:
        arithmetic.add_delta_weight(delta, basis, scaled)
    return delta


def rounded(delta: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Returns a delta weight in `dtype`, and what its products have to be multiplied by, if at all.

    Delta weights of 1e-7 are usual, and float16 has no such numbers. `delta` may be overwritten.
    """
    if dtype != torch.float16:
        return delta.to(dtype), None
    largest = delta.abs().amax().clamp(min=1e-30)
    scale = largest / largest.clamp(*_FLOAT16_RANGE)
    return delta.div_(scale).to(dtype), scale


class _Linear(torch.autograd.Function):
    """See `linear`."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: cost.Plan,
        bases: tuple[Basis, ...],
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        *scaled: Tensor,
    ) -> Tensor:
        ctx.plan, ctx.bases, ctx.has_weight = plan, bases, weight is not None
        ctx.save_for_backward(x, *(() if weight is None else (weight,)), *scaled)
        terms = list(zip(bases, scaled, strict=True))
        with without_autocast(x):
            flat = x.reshape(-1, x.shape[-1])  # (t, in)
            y = _product(flat, weight, terms, bias, through=plan.forward)
            if plan.forward == "activation":
                total = _sum_for(y, terms)
                for basis, values in terms:
                    arithmetic.add_product(total, basis, values, flat)
                y = _with_sum(y, total)
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *rest = ctx.saved_tensors
        weight = rest.pop(0) if ctx.has_weight else None
        plan, needs = ctx.plan, ctx.needs_input_grad
        terms = list(zip(ctx.bases, rest, strict=True))
        with without_autocast(x):
            flat = x.reshape(-1, x.shape[-1])  # (t, in)
            g = gradient.reshape(-1, gradient.shape[-1])  # (t, out)
            x_gradient = weight_gradient = None
            if needs[2]:
                transposed = None if weight is None else weight.T
                x_gradient = _product(g, transposed, terms, through=plan.x_gradient, turned=True)
            if needs[3] or (plan.coefficients == "weight" and any(needs[5:])):
                weight_gradient = g.T @ flat  # (out, in)
            pending = None
            if x_gradient is not None and plan.x_gradient == "activation":
                pending = _sum_for(x_gradient, terms)
            through_weight = weight_gradient if plan.coefficients == "weight" else None
            found = [
                _coefficients(term, flat, g, through_weight, pending, needed=needed)
                for term, needed in zip(terms, needs[5:], strict=True)
            ]
            if x_gradient is not None and pending is not None:
                x_gradient = _with_sum(x_gradient, pending)
            return (
                None,
                None,
                None if x_gradient is None else x_gradient.view(x.shape),
                weight_gradient if needs[3] else None,
                g.sum(0) if needs[4] else None,
                *found,
            )


def _product(
    x: Tensor,
    weight: Tensor | None,
    terms: Terms,
    bias: Tensor | None = None,
    *,
    through: str,
    turned: bool = False,
) -> Tensor:
    """Returns x weight^T + bias, (t, in) -> (t, out), with the delta if it goes `through` weights.

    `turned` says that input and output are exchanged: `weight` is a transpose, and so is delta.
    """
    out = terms[0][0].shape[1] if turned else terms[0][0].shape[0]
    if through == "activation":
        return x.new_zeros(x.shape[0], out) if weight is None else _affine(x, weight, bias)
    if weight is not None and weight.dtype.itemsize >= 4:
        total = summed(weight.T if turned else weight, terms)
        return _affine(x, total.T if turned else total, bias)
    delta = dense(terms)
    factor, scale = rounded(delta.T if turned else delta, x.dtype)  # not against the weight
    if scale is not None:
        product = (x @ factor.T).float().mul_(scale)
        return product.to(x.dtype) if weight is None else _affine(x, weight, bias).add_(product)
    return x @ factor.T if weight is None else _affine(x, weight, bias).addmm_(x, factor.T)


def _sum_for(y: Tensor, terms: list[tuple[Basis, Tensor]]) -> Tensor:
    """Returns where to add up what several terms add to `y`: there, unless each sum is rounded."""
    if len(terms) == 1 or y.dtype.itemsize >= 4:
        return y
    return torch.zeros_like(y, dtype=terms[0][1].dtype)


def _with_sum(y: Tensor, total: Tensor) -> Tensor:
    return y if total is y else y.add_(total)


def _affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return functional.linear(x, weight, bias)


def _coefficients(
    term: tuple[Basis, Tensor],
    x: Tensor,
    g: Tensor,
    weight_gradient: Tensor | None,
    x_gradient: Tensor | None,
    *,
    needed: bool,
) -> Tensor | None:
    """Returns the gradient of one term's scaled coefficients, and adds to `x_gradient` its part."""
    basis, scaled = term
    if needed and weight_gradient is None:
        return arithmetic.product_gradients(basis, scaled, x, g, x_gradient)
    if x_gradient is not None:
        arithmetic.add_transposed_product(x_gradient, basis, scaled, g)
    if not needed or weight_gradient is None:
        return None
    return arithmetic.coefficient_gradient(basis, weight_gradient).to(scaled.dtype)


class _DeltaWeight(torch.autograd.Function):
    """See `delta_weight`."""

    @staticmethod
    def forward(ctx: Any, bases: tuple[Basis, ...], *scaled: Tensor) -> Tensor:
        ctx.bases = bases
        with without_autocast(scaled[0]):
            return dense(list(zip(bases, scaled, strict=True)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        with without_autocast(gradient):
            return None, *(arithmetic.coefficient_gradient(b, gradient) for b in ctx.bases)


class _Columns(torch.autograd.Function):
    """See `columns`."""

    @staticmethod
    def forward(
        ctx: Any, bases: tuple[Basis, ...], positions: Tensor, dtype: torch.dtype, *scaled: Tensor
    ) -> Tensor:
        ctx.bases, ctx.dtype = bases, scaled[0].dtype
        ctx.save_for_backward(positions)
        flat = positions.reshape(-1)
        with without_autocast(positions):
            y = scaled[0].new_zeros(flat.numel(), bases[0].shape[0])
            for basis, values in zip(bases, scaled, strict=True):
                arithmetic.add_columns(y, basis, values, flat)
        return y.view(*positions.shape, y.shape[-1]).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (positions,) = ctx.saved_tensors
        g = gradient.reshape(-1, gradient.shape[-1]).to(ctx.dtype)  # (t, out)
        with without_autocast(g):
            found = [arithmetic.column_gradients(b, positions.reshape(-1), g) for b in ctx.bases]
        return None, None, None, *found


def autocast_enabled(device: torch.device) -> bool:
    """Whether autocast is on for `device`, which may be one that knows none, such as meta."""
    kind = device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def without_autocast(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Inside, dtypes are chosen here: autocast would round spectra."""
    if autocast_enabled(x.device):
        return torch.autocast(x.device.type, enabled=False)
    return contextlib.nullcontext()
