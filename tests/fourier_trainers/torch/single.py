"""A model of one layer of each kind, adapted, and what it must compute."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from fourier_trainers.config import Path
from fourier_trainers.torch import Explicit, FourierConfig, attach
from fourier_trainers.torch.coefficients import Coefficients
from tests.fourier_trainers.torch import reference
from tests.fourier_trainers.torch.reference import tensor

CONV: dict[str, Any] = {"stride": 2, "padding": (1, 2)}


@dataclass(frozen=True)
class Kind:
    """How a layer is made, fed, and computed from a canonical matrix in float64."""

    name: str
    make: Callable[[int, int, bool], nn.Module]
    feed: Callable[[int], Tensor]
    canonical: Callable[[Tensor], Tensor]
    compute: Callable[[Tensor, Tensor, Tensor | None], Tensor]


def _conv(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    return functional.conv2d(x, matrix.unflatten(1, (-1, 1, 2)), bias, **CONV)


def _tokens(in_: int) -> Tensor:
    return torch.randn(2, 5, in_, dtype=torch.float64)


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "linear",
            lambda out, in_, bias: nn.Linear(in_, out, bias=bias),
            _tokens,
            lambda w: w,
            functional.linear,
        ),
        Kind(
            "conv1d",
            lambda out, in_, _: Conv1D(out, in_),
            _tokens,
            lambda w: w.T,
            functional.linear,
        ),
        Kind(
            "conv2d",  # of kernels 1 x 2: every even number of inputs is a shape of its matrix
            lambda out, in_, bias: nn.Conv2d(in_ // 2, out, (1, 2), bias=bias, **CONV),
            lambda in_: torch.randn(2, in_ // 2, 3, 4, dtype=torch.float64),
            lambda w: w.flatten(1),
            _conv,
        ),
        Kind(
            "embedding",
            lambda out, in_, _: nn.Embedding(in_, out),
            lambda in_: torch.randint(in_, (2, 5)),
            lambda w: w.T,
            lambda x, matrix, _: functional.embedding(x, matrix.T),
        ),
    )
}


class Adapted:
    """One adapted layer; its delta weight is as large as its weight.

    Attributes:
        model: The attached model; its layer is called "layer".
        x: An input, float64 where it is no index.
    """

    def __init__(
        self,
        kind: str,
        shape: tuple[int, int] = (18, 24),
        transform: str = "dft2",
        path: Path = "auto",
        *,
        bias: bool = True,
        count: int = 60,
    ) -> None:
        self.kind, self.shape, self.transform = KINDS[kind], shape, transform
        self.entries = reference.entries_of(shape, count)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            layer = self.kind.make(*shape, bias).double()
            nn.init.normal_(cast("Tensor", layer.weight), std=shape[1] ** -0.5)
            if getattr(layer, "bias", None) is not None:
                nn.init.normal_(cast("Tensor", layer.bias))
            self.x = self.kind.feed(shape[1])
        values = reference.values_of(len(self.entries)).astype(np.float32)
        wave = self._delta(values)
        alpha = float(shape[1] ** -0.5 / np.sqrt(np.mean(wave**2)))
        config = FourierConfig(
            target_modules=("layer",),
            n=len(self.entries),
            alpha=alpha,
            transform=transform,
            entries=Explicit({shape: self.entries}),
            path=path,
        )
        self.alpha = alpha
        self.model = attach(nn.Sequential(OrderedDict(layer=layer)), config)
        self.coefficients.data = tensor(values, torch.float32)

    @property
    def layer(self) -> Any:
        return self.model.layer

    @property
    def member(self) -> Coefficients:
        return cast("Coefficients", self.layer.fourier["default"])

    @property
    def coefficients(self) -> nn.Parameter:
        return self.member.coefficients

    def to(self, dtype: torch.dtype) -> Adapted:
        """Cast the base and the input; coefficients stay in float32 unless all is float64."""
        for parameter in self.model.parameters():
            if parameter is not self.coefficients:
                parameter.data = parameter.data.to(dtype)
        self.coefficients.data = self.coefficients.data.to(
            torch.float64 if dtype == torch.float64 else torch.float32
        )
        self.x = self.x.to(dtype) if self.x.is_floating_point() else self.x
        return self

    def delta(self) -> Tensor:
        """Return the delta weight in float64, by sums."""
        return tensor(self.alpha * self._delta(self.coefficients.detach().double().numpy()))

    def expected(
        self, g: Tensor, x: Tensor | None = None, *, adapted: bool = True
    ) -> dict[str, Tensor]:
        """Return output and gradients in float64, with W + delta as the weight."""
        x = self.x if x is None else x
        if x.is_floating_point():
            x = x.detach().double().requires_grad_()
        base = self.kind.canonical(self.layer._parameters["weight"].detach().double())
        total = (base + self.delta() if adapted else base.clone()).requires_grad_()
        bias = getattr(self.layer, "bias", None)
        y = self.kind.compute(x, total, None if bias is None else bias.detach().double())
        y.backward(g.double())
        assert total.grad is not None
        found = {"y": y.detach(), "matrix": total.grad}
        if x.is_floating_point():
            assert x.grad is not None
            found["x"] = x.grad
        gradient = reference.coefficient_gradient(
            self.transform, self.shape, self.entries, total.grad.numpy()
        )
        return found | {"coefficients": tensor(self.alpha * gradient)}

    def got(self, g: Tensor | None = None, x: Tensor | None = None) -> dict[str, Tensor]:
        """Return output and gradients as the model gives them."""
        x = (self.x if x is None else x).detach()
        leaf = x.requires_grad_(x.is_floating_point())
        self.member.zero_grad()
        y = self.model(leaf)
        y.backward(self.g(y) if g is None else g)
        assert self.coefficients.grad is not None
        found = {"y": y.detach(), "coefficients": self.coefficients.grad.clone()}
        if leaf.grad is not None:
            found["x"] = leaf.grad.clone()
            leaf.grad = None
        return found

    @staticmethod
    def g(y: Tensor) -> Tensor:
        """Return a gradient that weights every output differently."""
        values = torch.linspace(-9, 9, max(y.numel(), 1), dtype=torch.float64)[: y.numel()]
        return (values.sin() + 0.1).view(y.shape).to(y.dtype)

    def _delta(self, values: Any) -> Any:
        p, q = np.arange(self.shape[0]), np.arange(self.shape[1])
        return reference.delta_block(self.transform, self.shape, self.entries, values, p, q)
