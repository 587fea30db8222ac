"""Modules with a delta weight: a subclass of the module's own class, made when it is needed.

The class of the module object is exchanged, as FSDP2 does it, so that the object, its parameters,
hooks and place in the model stay what they are: nothing is wrapped, and no key of the base changes.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, cast

import torch
from torch import Tensor, nn

from fourier_format.errors import UsageError, Violation
from fourier_trainers.torch import hooked, layers, quantized, sharding
from fourier_trainers.torch.coefficients import Adapters, Coefficients, terms_of
from fourier_trainers.torch.spectral import arithmetic, functions


class Adapted(nn.Module):
    """What every adapted module has, beside what it had.

    Attributes:
        base_class: The class that it had.
        fourier: Its adapters.
    """

    base_class: ClassVar[type[nn.Module]]
    fourier: Adapters

    def base_forward(self, x: Tensor) -> Tensor:
        """Returns what the module computes without adapters."""
        return cast("Tensor", self.base_class.forward(self, x))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Load; where this gives a meta model its base, coefficients start beside it."""
        super()._load_from_state_dict(state_dict, prefix, *rest)
        device = layers.weight_of(self).device
        for name, member in self.fourier.items():
            given = f"{prefix}fourier.{name}.coefficients" in state_dict
            if device.type != "meta" and not given:
                cast("Coefficients", member).start_on(device)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Copies and pickles go by the base's class, since this one has no importable name."""
        state = cast("Any", self).__getstate__()
        return _restored, (self.base_class, type(self).__mro__[1]), state


class Calling(Adapted):
    """A module that is called: its forward adds the delta weight."""

    def forward(self, *args: Tensor, **keywords: Tensor) -> Tensor:
        """Returns what the module computes with the delta weights that are on.

        There is one argument, the input; its name is the base class's affair.
        """
        (x,) = (*args, *keywords.values())
        adapters = self.fourier
        if not adapters.reached:
            adapters.reached = True
        if adapters.kept is not None:
            return self.base_forward(x)
        switch = adapters.switch
        if switch.rows is not None:
            return _by_rows(self, x, switch.rows)
        members = adapters.active(switch.active)
        if not members:
            return self.base_forward(x)
        _refuse_export(self)
        kind = kind_of_adapted(self)
        if _uses_cache(self, kind, members):
            return kind.with_weight(self, x, _cached_sum(self, kind, members))
        terms = terms_of(members, _dtype(self, x))
        return kind.forward(self, x, terms, members[0].path)


class Reading(Adapted):
    """A module whose weight its parent reads without calling it: the weight holds the delta."""

    @property
    def weight(self) -> Tensor:
        """The stored weight plus the delta weights that are on."""
        adapters, stored = self.fourier, layers.weight_of(self)
        adapters.reached = True
        members = adapters.active(adapters.switch.active)
        if adapters.switch.rows is not None:
            problem = "its parent reads this weight as a whole, so that rows cannot differ"
            advice = "leave this module out of the targets, or run one adapter at a time"
            where = f"{self.base_class.__name__} of {self.in_features}x{self.out_features}"
            raise UsageError(Violation("E-USAGE", where, problem, advice=advice))
        if adapters.kept is not None or not members:
            return stored
        _refuse_export(self)
        kind = kind_of_adapted(self)
        if _uses_cache(self, kind, members):
            return _cached_sum(self, kind, members)
        delta = functions.delta_weight(terms_of(members, _dtype(self, stored)))
        return (stored + kind.stored(delta, stored.shape)).to(stored.dtype)


def adapted_class(base: type[nn.Module], mixin: type[Adapted]) -> type[Adapted]:
    """Returns the class of an adapted `base`; one for each."""
    key = base, mixin
    if key not in _CLASSES:
        members = {"base_class": base, "__doc__": base.__doc__}
        _CLASSES[key] = type(f"Adapted{base.__name__}", (mixin, base), members)
    return _CLASSES[key]


_CLASSES: Final[dict[tuple[type[nn.Module], type[Adapted]], type[Adapted]]] = {}


def become_adapted(module: nn.Module, mixin: type[Adapted], adapters: Adapters) -> None:
    """Make `module` adapted, in place."""
    adapters.before = quantized.prepare(module)
    base = type(module)
    module.__class__ = adapted_class(base, mixin)
    cast("Adapted", module).fourier = adapters.train(module.training)
    hooked.rebind(module, base.forward, type(module).forward)


def become_plain(module: nn.Module) -> None:
    """Make an adapted `module` what it was, in place."""
    adapted = cast("Adapted", module)
    module.__dict__.update(adapted.fourier.before)
    hooked.rebind(module, type(module).forward, adapted.base_class.forward)
    del adapted.fourier
    module.__class__ = adapted.base_class


def _restored(base: type[nn.Module], mixin: type[Adapted]) -> Adapted:
    cls = adapted_class(base, mixin)
    return cls.__new__(cls)


def kind_of_adapted(module: Adapted) -> layers.LayerKind:
    """Returns how an adapted module is adapted."""
    kind = layers.kind_of(module, type(module).__name__)
    assert kind is not None  # noqa: S101 - it was adapted because it has one
    return kind


def _refuse_export(module: Adapted) -> None:
    """Refuse an export: the graph would hold the base's weight beside the delta's FFTs.

    A converter would find that weight, and add the delta once more.

    Raises:
        UsageError: An export is under way, by torch.export or to ONNX.
    """
    if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export():
        problem = "an adapter is on while the model is exported"
        advice = (
            "export the base, with set_active(model, None) or before attach, and merge with "
            "fourier-convert; or call merge(model) first, for a graph that is merged already"
        )
        where = type(module).__name__
        raise UsageError(Violation("E-USAGE", where, problem, advice=advice))


def _dtype(module: Adapted, x: Tensor) -> torch.dtype:
    return arithmetic.compute_dtype(x.dtype, layers.weight_of(module).dtype)


def _uses_cache(module: Adapted, kind: layers.LayerKind, members: list[Coefficients]) -> bool:
    """Whether the sum of weight and delta weight is cached: in eval mode without gradients.

    Not while a compiler looks, which cannot see that coefficients change; nor among several
    processes, where sharding gathers other values into the same tensor of the same version, and
    keeping sums would undo it.
    """
    return (
        not module.training
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not sharding.may_be_sharded()
        and kind.holds_weight()
        and members[0].path != "activation"
    )


def _cached_sum(module: Adapted, kind: layers.LayerKind, members: list[Coefficients]) -> Tensor:
    """Returns the stored form of weight + delta, rounded once to the weight's dtype."""
    stored = layers.weight_of(module)

    def make() -> Tensor:
        terms = terms_of(members, arithmetic.compute_dtype(stored.dtype))
        return kind.stored(functions.summed(kind.canonical(stored), terms), stored.shape)

    return module.fourier.cached(stored, members, make)


def _by_rows(module: Adapted, x: Tensor, rows: tuple[str | None, ...]) -> Tensor:
    """Returns the module's output where each row of the batch has its own adapter."""
    if x.dim() == 0 or x.shape[0] != len(rows):
        problem = "the first axis of this module's input is not the batch that rows were given for"
        where, got = type(module).__name__, f"input {tuple(x.shape)}"
        raise UsageError(Violation("E-USAGE", where, problem, got, f"{len(rows)} rows"))
    kind = kind_of_adapted(module)
    y = module.base_forward(x).clone()  # with its strides, on which a model may depend
    for name in dict.fromkeys(rows):
        if name is None or name not in module.fourier:
            continue
        (member,) = module.fourier.active((name,))
        chosen = torch.tensor([k for k, row in enumerate(rows) if row == name], device=x.device)
        terms = terms_of([member], _dtype(module, x))
        extra = kind.product(module, x[chosen], terms, member.path)
        y.index_add_(0, chosen, extra.to(y.dtype))
    return y
