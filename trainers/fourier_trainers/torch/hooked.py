"""Forwards that modules hold themselves: Accelerate's hooks, of `device_map`, put them there.

Such a module has an attribute `forward`, which calls the hook and `_old_forward`, a method of the
class that the module had then. It would go past the class that it is given here.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, Final

from torch import nn

from fourier_format.errors import UnsupportedError, Violation

_HELD: Final = ("_old_forward", "forward")


def rebind(module: nn.Module, old: Callable[..., Any], new: Callable[..., Any]) -> None:
    """Exchange `old`, a function of the module's class, for `new` where the module holds it."""
    for name in _HELD:
        if getattr(module.__dict__.get(name), "__func__", None) is old:
            module.__dict__[name] = MethodType(new, module)


def check(module: nn.Module, name: str) -> None:
    """Refuse a module that holds a forward which is not its class's, or whose weight is not there.

    Raises:
        UnsupportedError: It is one.
    """
    held = [module.__dict__[key] for key in _HELD if key in module.__dict__]
    weight = module._parameters.get("weight")  # noqa: SLF001 - past any property
    if held and getattr(held[0], "__func__", None) is not type(module).forward:
        problem = "its forward was replaced on the module itself, of which nothing is known"
        advice = "attach first, then replace it"
    elif "_hf_hook" in module.__dict__ and weight is not None and weight.device.type == "meta":
        problem = "its weight is offloaded (device_map), and only there during a forward"
        advice = "load the model with a device_map that keeps this layer on a device"
    else:
        return
    got = type(module).__name__
    raise UnsupportedError(Violation("E-BASE-UNSUPPORTED", name, problem, got, advice=advice))
