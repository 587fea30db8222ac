"""Quantised linear layers: which are known to train, and what has to be seen to before they do.

The base's forward is left to the layer, and the delta's product is added to it. That trains if the
layer's gradient to its input is right, which is proved on each of them when it is adapted.
"""

from __future__ import annotations

from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from fourier_format.errors import UnsupportedError, Violation

_PACKING: Final = "support_avx512bf16_for_cpu"
"""bitsandbytes' attribute: whether a forward in eval mode may repack the weight in place, after
which it gives its input no gradient, or a wrong one (measured with 0.50.2)."""

_TOLERANCE: Final = 0.05
"""Relative, of the proof: layers compute in bfloat16 at the worst; a missing part is off by more
than half."""


def is_bitsandbytes(cls: type) -> bool:
    """Whether a class is one of bitsandbytes' linear layers; it need not be installed."""
    return any(base.__module__.split(".")[0] == "bitsandbytes" for base in cls.__mro__)


def is_dynamic(cls: type) -> bool:
    """Whether a class is one of torch's own quantised layers."""
    return cls.__module__.startswith(("torch.ao.nn.quantized", "torch.nn.quantized"))


def no_gradient(name: str, cls: type) -> UnsupportedError:
    """Returns the refusal of torch's own quantised layers, which give only a warning."""
    problem = "torch's quantised layers give their input no gradient, so nothing would be learnt"
    advice = "quantise with bitsandbytes or torchao, or train on the float model"
    got = f"{cls.__module__}.{cls.__name__}"
    return UnsupportedError(Violation("E-BASE-UNSUPPORTED", name, problem, got, advice=advice))


def element_count(parameter: nn.Parameter) -> int:
    """Returns the number of weights that a parameter stands for: packed ones share elements."""
    shape = getattr(getattr(parameter, "quant_state", None), "shape", None)
    return parameter.numel() if shape is None else torch.Size(shape).numel()


def check(module: nn.Module, name: str) -> None:
    """Refuse a quantised layer that would not train. The module is left as it was.

    Raises:
        UnsupportedError: It is not quantised yet, is packed for inference, or its gradient to the
            input is wrong.
    """
    if is_bitsandbytes(type(module)):
        _check_bitsandbytes(module, name)
    if next(module.parameters()).device.type != "meta":
        _prove(module, name)


def prepare(module: nn.Module) -> dict[str, Any]:
    """Make a layer fit for training; returns what its attributes were."""
    before = {_PACKING: module.__dict__[_PACKING]} if _PACKING in module.__dict__ else {}
    module.__dict__.update(dict.fromkeys(before, False))
    return before


def check_input(module: nn.Module, x: Tensor) -> None:
    """Refuse what bitsandbytes answers with uninitialised memory.

    Raises:
        UnsupportedError: A float64 input, and the layer has no dtype to compute in.
    """
    if x.dtype == torch.float64 and getattr(module, "compute_dtype", x.dtype) is None:
        problem = "bitsandbytes cannot compute with a float64 input and no compute_dtype"
        advice = "set compute_dtype to torch.float32, or cast the input"
        where = type(module).__name__
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", where, problem, advice=advice))


def _check_bitsandbytes(module: nn.Module, name: str) -> None:
    weight: Any = module._parameters["weight"]  # noqa: SLF001 - the parameter itself
    state = getattr(weight, "quant_state", None)
    problem = None
    if getattr(state, "packing_format_for_cpu", False):
        problem = "bitsandbytes has packed its weight for inference, which gives no right gradient"
        advice = "load the model again, and attach before the first forward in eval mode"
    elif hasattr(module, _PACKING) and state is None:
        problem, advice = "it is not quantised yet", "move the model to its device, then attach"
    if problem is not None:
        got = type(module).__name__
        raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", name, problem, got, advice=advice))


def _prove(module: nn.Module, name: str) -> None:
    """Refuse a layer whose gradient g W is not that of its own output x W^T: <g W, x> = <g, x W^T>.

    It is run with fixed vectors, past hooks and bias; what a first forward sets is set back.
    """
    weight = cast("Tensor", module._parameters["weight"])  # noqa: SLF001 - the parameter itself
    dtype = getattr(module, "compute_dtype", None) or (
        weight.dtype if weight.is_floating_point() else torch.float32
    )
    sizes = cast("Any", module).in_features, cast("Any", module).out_features
    generator = torch.Generator().manual_seed(0)
    x, g = (torch.randn(2, n, generator=generator).to(weight.device, dtype) for n in sizes)
    before = dict(module.__dict__), module._parameters.get("bias")  # noqa: SLF001 - the same
    try:
        prepare(module)
        module._parameters["bias"] = None  # noqa: SLF001 - it would only add its rounding
        with torch.inference_mode(mode=False), torch.enable_grad():
            y, gradient = _gradient(module, x, g)
    except (RuntimeError, AttributeError) as error:
        raise _unproved(name, module, f"{type(error).__name__}: {error}") from error
    finally:
        module.__dict__.clear()
        module.__dict__.update(before[0])
        module._parameters["bias"] = before[1]  # noqa: SLF001 - the same
    if gradient is None:
        raise _unproved(name, module, "no gradient")
    expected, got = (g * y).double(), (gradient * x).double()
    if abs(float(expected.sum() - got.sum())) > _TOLERANCE * float(expected.norm()):
        raise _unproved(name, module, "another gradient")


def _gradient(module: nn.Module, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor | None]:
    """Returns the output for x, and the gradient of x for g of the output."""
    x = x.clone().requires_grad_()
    y: Tensor = cast("Any", module).forward(x)
    if not y.requires_grad:
        return y.detach(), None
    (gradient,) = torch.autograd.grad(y, x, g.to(y.dtype), allow_unused=True)
    return y.detach(), gradient


def _unproved(name: str, module: nn.Module, got: str) -> UnsupportedError:
    problem = f"the quantised {type(module).__name__} does not give its input the right gradient"
    expected, advice = "the gradient of its own output", "train on the float model"
    return UnsupportedError(
        Violation("E-BASE-UNSUPPORTED", name, problem, got, expected, advice=advice)
    )
