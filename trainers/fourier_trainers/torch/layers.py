"""The layers that can be adapted: where each keeps its weight, and what it computes with a delta.

A layer kind is a stateless object. `fourier_format`'s kind says how the stored weight becomes the
canonical matrix (spec/registry.md, table 2); everything here is about torch's modules.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fourier_format.errors import UnsupportedError, UsageError, Violation
from fourier_trainers.config import Path
from fourier_trainers.torch import quantized
from fourier_trainers.torch.coefficients import Adapters
from fourier_trainers.torch.spectral import convolution, functions
from fourier_trainers.torch.spectral.functions import Terms

DTYPES: Final[dict[torch.dtype, str]] = {
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
}
"""Weights' dtypes -> the format's names for them."""


class LayerKind(abc.ABC):
    """How one sort of module is adapted.

    Attributes:
        kind: The format's name for it.
    """

    kind: ClassVar[str]

    @abc.abstractmethod
    def canonical(self, stored: Tensor) -> Tensor:
        """Returns the canonical matrix (out, in) of the stored weight; a view where possible."""

    @abc.abstractmethod
    def stored(self, matrix: Tensor, shape: torch.Size) -> Tensor:
        """Returns a canonical matrix as the module stores it: what `canonical` undoes."""

    @abc.abstractmethod
    def forward(self, module: nn.Module, x: Tensor, terms: Terms, path: Path) -> Tensor:
        """Returns what the module computes with its weight plus the delta weight."""

    @abc.abstractmethod
    def product(self, module: nn.Module, x: Tensor, terms: Terms, path: Path) -> Tensor:
        """Returns what the delta weight alone adds to the module's output."""

    @abc.abstractmethod
    def with_weight(self, module: nn.Module, x: Tensor, stored: Tensor) -> Tensor:
        """Returns what the module computes with another stored weight."""

    def shape(self, module: nn.Module) -> tuple[int, int]:
        """Returns (out, in) of the canonical matrix."""
        stored = weight_of(module)
        out, in_ = self.canonical(stored).shape
        return int(out), int(in_)

    def holds_weight(self) -> bool:
        """Whether the weight is held as numbers that a delta weight can be added to."""
        return True


def weight_of(module: nn.Module) -> Tensor:
    """Returns the stored weight, past any property of that name."""
    return cast("Tensor", module._parameters["weight"])  # noqa: SLF001 - the parameter itself


class Linear(LayerKind):
    """nn.Linear: (out, in)."""

    kind = "linear"

    def canonical(self, stored: Tensor) -> Tensor:
        """Returns the weight itself."""
        return stored

    def stored(self, matrix: Tensor, shape: torch.Size) -> Tensor:
        """Returns the matrix itself."""
        return matrix.view(shape)

    def forward(self, module: nn.Module, x: Tensor, terms: Terms, path: Path) -> Tensor:
        """Returns x (W + delta)^T + b."""
        weight, bias = self.canonical(weight_of(module)), cast("Any", module).bias
        x, weight, bias = _autocast(x, weight, bias)
        return functions.linear(x, weight, bias, terms, path)

    def product(self, module: nn.Module, x: Tensor, terms: Terms, path: Path) -> Tensor:  # noqa: ARG002 - kinds are called alike
        """Returns x delta^T."""
        (x,) = _autocast(x)
        return functions.linear(x, None, None, terms, path)

    def with_weight(self, module: nn.Module, x: Tensor, stored: Tensor) -> Tensor:
        """Returns x stored^T + b."""
        return functional.linear(x, self.canonical(stored), cast("Any", module).bias)


class TransposedLinear(Linear):
    """Conv1D of transformers: a linear layer that stores (in, out)."""

    def canonical(self, stored: Tensor) -> Tensor:
        """Returns the transpose, a view."""
        return stored.T

    def stored(self, matrix: Tensor, shape: torch.Size) -> Tensor:
        """Returns the transpose, contiguous."""
        return matrix.T.contiguous().view(shape)


class OpaqueLinear(Linear):
    """A linear layer whose weight is packed or quantised: what it computes is left to it."""

    def forward(self, module: nn.Module, x: Tensor, terms: Terms, path: Path) -> Tensor:  # noqa: ARG002 - the same
        """Returns the module's own output plus x delta^T, by activations alone."""
        quantized.check_input(module, x)
        y: Tensor = cast("Any", module).base_forward(x)
        return y + self.product(module, x, terms, "activation").to(y.dtype)

    def shape(self, module: nn.Module) -> tuple[int, int]:
        """Returns (out_features, in_features): the packed weight has another shape."""
        return int(cast("Any", module).out_features), int(cast("Any", module).in_features)

    def holds_weight(self) -> bool:
        """It is not."""
        return False


class Conv2d(LayerKind):
    """nn.Conv2d: (O, I/g, kh, kw) -> (O, I/g kh kw)."""

    kind = "conv2d"

    def canonical(self, stored: Tensor) -> Tensor:
        """Returns the weight with its last three axes joined."""
        return stored.flatten(1)

    def stored(self, matrix: Tensor, shape: torch.Size) -> Tensor:
        """Returns the matrix with its input axis split."""
        return matrix.view(shape)

    def forward(self, module: nn.Module, x: Tensor, terms: Terms, path: Path) -> Tensor:
        """Returns the convolution with W + delta."""
        conv = cast("nn.Conv2d", module)
        if path == "activation":
            return self.with_weight(module, x, conv.weight) + self.product(module, x, terms, path)
        x, weight, bias = _autocast(x, conv.weight, conv.bias)
        return convolution.conv2d(x, weight, bias, terms, _geometry(conv))

    def product(self, module: nn.Module, x: Tensor, terms: Terms, path: Path) -> Tensor:
        """Returns the convolution with delta."""
        conv = cast("nn.Conv2d", module)
        (x,) = _autocast(x)
        if path != "activation":
            return convolution.conv2d(x, None, None, terms, _geometry(conv))
        if conv.groups != 1:
            problem = "a grouped convolution is not computed through activations"
            advice = 'take path="auto" or "weight"'
            raise UsageError(Violation("E-USAGE", "path", problem, path, advice=advice))
        return convolution.by_patches(x, terms, _geometry(conv))

    def with_weight(self, module: nn.Module, x: Tensor, stored: Tensor) -> Tensor:
        """Returns the convolution with another weight."""
        conv = cast("nn.Conv2d", module)
        y: Tensor = conv._conv_forward(x, stored, conv.bias)  # noqa: SLF001 - all padding modes
        return y


class Embedding(LayerKind):
    """nn.Embedding: (vocab, dim) -> (dim, vocab)."""

    kind = "embedding"

    def canonical(self, stored: Tensor) -> Tensor:
        """Returns the transpose, a view."""
        return stored.T

    def stored(self, matrix: Tensor, shape: torch.Size) -> Tensor:
        """Returns the transpose, contiguous."""
        return matrix.T.contiguous().view(shape)

    def forward(self, module: nn.Module, x: Tensor, terms: Terms, path: Path) -> Tensor:
        """Returns rows of W + delta^T; by activations, unless `path` says otherwise."""
        return self.with_weight(module, x, weight_of(module)) + self.product(module, x, terms, path)

    def product(self, module: nn.Module, x: Tensor, terms: Terms, path: Path) -> Tensor:
        """Returns rows of delta^T."""
        dtype = weight_of(module).dtype
        if path == "weight":
            return functional.embedding(x, functions.delta_weight(terms).T).to(dtype)
        return functions.columns(x, terms, dtype)

    def with_weight(self, module: nn.Module, x: Tensor, stored: Tensor) -> Tensor:
        """Returns rows of another weight."""
        return functional.embedding(x, stored, cast("nn.Embedding", module).padding_idx)


LINEAR: Final = Linear()
TRANSPOSED: Final = TransposedLinear()
OPAQUE: Final = OpaqueLinear()
CONV2D: Final = Conv2d()
EMBEDDING: Final = Embedding()


def kind_of(module: nn.Module, name: str) -> LayerKind | None:
    """Returns how `module` is adapted, None if it is of no such sort.

    Raises:
        UnsupportedError: It is of such a sort, and cannot be adapted; the message says why.
    """
    cls = base_class(module)
    if quantized.is_dynamic(cls):
        raise quantized.no_gradient(name, cls)
    known = _known(cls)
    if known is None:
        return None
    kind, origin = known
    if quantized.is_bitsandbytes(cls):
        return OPAQUE
    if cls.forward is not origin.forward:
        problem = "its class has a forward of its own, of which nothing is known"
        raise _refused(name, problem, f"{cls.__module__}.{cls.__name__}")
    weight = module._parameters.get("weight")  # noqa: SLF001 - the parameter itself
    if weight is None:
        problem = "its weight is no parameter, but computed by a parametrization or hook"
        advice = "remove the parametrization, such as weight norm, or leave the module out"
        raise _refused(name, problem, cls.__name__, advice)
    if isinstance(weight, nn.UninitializedParameter):
        problem = "its weight has no shape before the first forward"
        raise _refused(name, problem, cls.__name__, "run the model once, then attach")
    if kind is EMBEDDING and cast("nn.Embedding", module).max_norm is not None:
        raise _refused(name, "an embedding with max_norm changes its own weight when it runs")
    if is_plain(weight):
        return kind
    if kind is LINEAR:
        return OPAQUE
    raise _refused(name, "its weight is packed or quantised", type(weight.data).__name__)


def is_plain(parameter: Tensor) -> bool:
    """Whether a parameter's values are held as floating-point numbers, one each."""
    if isinstance(parameter, nn.UninitializedParameter) or not parameter.is_floating_point():
        return False
    if type(parameter).__name__ == "DTensor":
        return True
    return type(parameter) in {nn.Parameter, Tensor} and type(parameter.data) is Tensor


def base_class(module: nn.Module) -> type[nn.Module]:
    """Returns a module's class, or the one that it had before it was adapted."""
    if isinstance(module._modules.get("fourier"), Adapters):  # noqa: SLF001 - past any property
        return cast("type[nn.Module]", cast("Any", module).base_class)
    return type(module)


def _known(cls: type[nn.Module]) -> tuple[LayerKind, type[nn.Module]] | None:
    """Returns the kind of a class, and the class whose forward it must have."""
    if issubclass(cls, nn.Embedding):
        return EMBEDDING, nn.Embedding
    if issubclass(cls, nn.Conv2d):
        return CONV2D, nn.Conv2d
    if issubclass(cls, nn.Linear):
        return LINEAR, nn.Linear
    if cls.__name__ == "Conv1D" and cls.__module__ == "transformers.pytorch_utils":
        return TRANSPOSED, cls
    return None


def _refused(
    name: str, problem: str, got: str | None = None, advice: str | None = None
) -> UnsupportedError:
    return UnsupportedError(Violation("E-BASE-UNSUPPORTED", name, problem, got, advice=advice))


def _geometry(conv: nn.Conv2d) -> convolution.Geometry:
    return convolution.Geometry(
        kernel=cast("tuple[int, int]", conv.kernel_size),
        stride=cast("tuple[int, int]", conv.stride),
        padding=tuple(conv._reversed_padding_repeated_twice),  # noqa: SLF001 - "same" resolved
        padding_mode=conv.padding_mode,
        dilation=cast("tuple[int, int]", conv.dilation),
        groups=conv.groups,
        out=conv.out_channels,
    )


def _autocast(*tensors: Any) -> tuple[Any, ...]:
    """Returns the tensors as autocast would hand them to a matrix product."""
    device = tensors[0].device
    if not functions.autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device.type)
    return tuple(t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in tensors)
