"""What an attached model holds: the coefficients of each target, and which adapters are on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, cast

import torch
from torch import Tensor, nn

from fourier_trainers.config import Path
from fourier_trainers.torch.sharding import shard_like
from fourier_trainers.torch.spectral import arithmetic
from fourier_trainers.torch.spectral.basis import Basis
from fourier_trainers.torch.spectral.functions import Terms


class Switch:
    """Which adapters are on: one object, shared by all targets of a model.

    Attributes:
        active: Names of adapters whose delta weights are added up, for every row of a batch.
        rows: The adapter of each row of the batch, None for the base alone; or None, which means
            that `active` holds for all rows.
    """

    def __init__(self) -> None:
        """Nothing is on."""
        self.active: tuple[str, ...] = ()
        self.rows: tuple[str | None, ...] | None = None


class Coefficients(nn.Module):
    """The coefficients of one target in one adapter.

    Attributes:
        coefficients: (n,) what is trained: the adapter's coefficients over `gain`.
        basis: Transform, shape and entries, shared by targets of one shape.
        alpha: The scale of the delta weight.
        gain: What the trained values are multiplied by; never part of an adapter.
        path: How to compute.
        first: The first values, on the CPU, while the parameter is on the meta device; else None.
    """

    def __init__(self, values: Tensor, basis: Basis, alpha: float, gain: float, path: Path) -> None:
        """Takes the trained values, (n,), and what they mean."""
        super().__init__()
        self.coefficients: Final = nn.Parameter(values)
        self.basis: Final = basis
        self.alpha: Final = alpha
        self.gain: Final = gain
        self.path: Final = path
        self.first: Tensor | None = None
        self._prepare()

    def scaled(self, dtype: torch.dtype) -> Tensor:
        """Returns the coefficients times gain, alpha and the transform's norm, in `dtype`."""
        return self.coefficients.to(dtype) * (self.gain * self.alpha * self.basis.norm)

    def extra_repr(self) -> str:
        """Short, as in 384x384, n=1000, alpha=150.0."""
        out, in_ = self.basis.shape
        return f"{out}x{in_}, n={self.basis.count}, alpha={self.alpha}"

    def reset_parameters(self) -> None:
        """Set the first values, once the parameter has left the meta device."""
        if self.first is not None and self.coefficients.device.type != "meta":
            with torch.no_grad():
                self.coefficients.copy_(shard_like(self.first, self.coefficients))
            self.first = None

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Coefficients:
        """Move or cast, and have the basis ready there before a forward could be traced."""
        super()._apply(fn, recurse)
        self.reset_parameters()
        self._prepare()
        return self

    def start_on(self, device: torch.device) -> None:
        """Leave the meta device for `device`, with the first values."""
        if self.first is not None:
            needed = self.coefficients.requires_grad
            self._parameters["coefficients"] = nn.Parameter(self.first.to(device), needed)
            self.first = None
            self._prepare()

    def _prepare(self) -> None:
        values = self.coefficients
        if values.device.type != "meta":
            self.basis.on(values.device, arithmetic.compute_dtype(values.dtype))


class _Cached(NamedTuple):
    """A sum of weight and delta weight.

    Attributes:
        key: What it was made of: objects, versions and addresses.
        held: The objects and their memory, so that nothing else comes to have their addresses.
        value: The sum.
    """

    key: tuple[Any, ...]
    held: tuple[Tensor, ...]
    value: Tensor


class Adapters(nn.ModuleDict):
    """The `fourier` child of a target: its coefficients, by the adapter's name.

    Attributes:
        switch: What is on, shared with the other targets.
        reached: Whether a forward has come by since the adapter was attached.
        before: Attributes of the module that were changed when it was adapted.
        kept: The base's own parameter while the delta weight is merged; else None. In a tuple, so
            that the module does not register it.
    """

    def __init__(self, switch: Switch) -> None:
        """Takes the model's switch."""
        super().__init__()
        self.switch: Final = switch
        self.reached = False
        self.before: dict[str, Any] = {}
        self.kept: tuple[nn.Parameter] | None = None
        self._cache: _Cached | None = None

    def active(self, names: Sequence[str]) -> list[Coefficients]:
        """Returns the coefficients of those of `names` that adapt this target."""
        return [cast("Coefficients", self[name]) for name in names if name in self]

    def cached(
        self, weight: Tensor, members: Sequence[Coefficients], make: Callable[[], Tensor]
    ) -> Tensor:
        """Returns what `make` gives; made again only if the weight or coefficients changed."""
        sources = (weight, *(member.coefficients for member in members))
        if any(t.is_inference() for t in sources):  # no one counts their changes
            return make()
        key = tuple((id(t), t._version, t.data_ptr(), t.dtype) for t in sources)  # noqa: SLF001
        if self._cache is None or self._cache.key != key:
            self._cache = None  # free the old one first
            with torch.inference_mode(mode=False), torch.no_grad():
                held = (*sources, *(t.detach() for t in sources))
                self._cache = _Cached(key, held, make())
        return self._cache.value

    def forget(self) -> None:
        """Drop what is cached."""
        self._cache = None

    def train(self, mode: bool = True) -> Adapters:
        """Set the mode, and drop what was cached: training may change data past autograd's eyes."""
        self.forget()
        super().train(mode)
        return self

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Adapters:
        """Move or cast, with the kept weight; what is cached is dropped."""
        self.forget()
        super()._apply(fn, recurse)
        if self.kept is not None:
            self.kept[0].data = fn(self.kept[0].data)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold: not the cache."""
        return self.__dict__ | {"_cache": None}


def terms_of(members: Sequence[Coefficients], dtype: torch.dtype) -> Terms:
    """Returns the bases and scaled coefficients, in the dtype of the computation."""
    return [(member.basis, member.scaled(dtype)) for member in members]
