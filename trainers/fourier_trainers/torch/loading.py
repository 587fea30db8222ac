"""load_adapter: an Adapter, or its file, onto a model, to use it or to train it on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

import fourier_format
from fourier_format import fingerprint as fingerprints
from fourier_format.adapter import Adapter, Array
from fourier_format.dtypes import BFLOAT16
from fourier_format.errors import BaseMismatchError, TargetNotFoundError, Violation
from fourier_trainers.torch import attaching
from fourier_trainers.torch.config import Explicit, FourierConfig
from fourier_trainers.torch.selecting import Site, sites_of
from fourier_trainers.torch.spectral.basis import Basis
from fourier_trainers.torch.spectral.cost import Path as ComputingPath
from fourier_trainers.torch.state import ATTRIBUTE, Attached, State

M = TypeVar("M", bound=nn.Module)


def load_adapter(
    model: M,
    adapter: Adapter | str | os.PathLike[str],
    name: str = attaching.DEFAULT,
    *,
    gain: float = 1.0,
    path: ComputingPath = "auto",
) -> M:
    """Put an adapter on `model`, in place, as `attach` does; it is then the active one.

    Args:
        model: The base that it was trained on, attached or not.
        adapter: The adapter, or a .fft or .fft.h5 file.
        name: What to call it.
        gain: Trained are the coefficients over `gain` (`FourierConfig`).
        path: How to compute (`FourierConfig`).

    Returns:
        The same model.

    Raises:
        BaseMismatchError: A target's kind, shape or fingerprint, or a replacement's shape, says
            that this is not the base.
        TargetNotFoundError: The model has no module, or no parameter, of a name.
        UsageError: The name is taken.
        UnsupportedError: A target cannot be adapted here.
    """
    loaded = adapter if isinstance(adapter, Adapter) else fourier_format.load(Path(adapter))
    state = model.__dict__.get(ATTRIBUTE, State())
    attaching.check_name(model, state, name)
    config = _config(loaded, gain, path)
    sites = [_as_stated(site, loaded) for site in _sites(model, loaded, config)]
    wrong = [v for site in sites for v in _differences(site, loaded)]
    wrong += list(_replacement_differences(model, loaded))
    if wrong:
        raise BaseMismatchError(wrong)
    bases = {s.id: Basis(loaded.transform, s.shape, s.entries) for s in loaded.entry_sets}
    record = Attached(config, (), {}, {}, source=loaded)
    attaching.commit(
        model,
        state,
        name,
        sites,
        [bases[target.entries] for target in loaded.targets],
        [_values(loaded.coefficients(target), gain) for target in loaded.targets],
        record,
        {key: to_tensor(value) for key, value in loaded.replacements.items()},
    )
    return model


def to_tensor(array: Array) -> Tensor:
    """Returns a copy of an array as a tensor; ml_dtypes' bfloat16 is torch's."""
    copied = np.array(array)
    if copied.dtype == BFLOAT16:
        return torch.from_numpy(copied.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(copied)


def _config(adapter: Adapter, gain: float, path: ComputingPath) -> FourierConfig:
    """Returns what `attach` would have been asked for."""
    wanted = adapter.target_modules or tuple(target.name for target in adapter.targets)
    return FourierConfig(
        target_modules=wanted,
        n=adapter.entry_sets[0].count,
        alpha=adapter.alpha,
        transform=adapter.transform,
        entries=Explicit({}),
        seed=adapter.seed or 0,
        gain=gain,
        path=path,
    )


def _sites(model: nn.Module, adapter: Adapter, config: FourierConfig) -> list[Site]:
    return sites_of(model, [target.name for target in adapter.targets], config)


def _as_stated(site: Site, adapter: Adapter) -> Site:
    """Returns the site with the adapter's own alpha and n."""
    target = adapter.target(site.name)
    return Site(
        name=site.name,
        module=site.module,
        kind=site.kind,
        mixin=site.mixin,
        shape=site.shape,
        n=adapter.entry_set(target).count,
        alpha=adapter.alpha_of(target),
    )


def _differences(site: Site, adapter: Adapter) -> Iterator[Violation]:
    """Yields what says that a module is not the target that the adapter was trained on."""
    target = adapter.target(site.name)
    if site.kind.kind != target.kind:
        yield _mismatch(site.name, "another kind of layer", site.kind.kind, target.kind)
        return
    if site.shape != target.shape:
        got, expected = (f"{shape[0]}x{shape[1]}" for shape in (site.shape, target.shape))
        yield _mismatch(site.name, "its weight has another shape", got, expected)
        return
    prints = adapter.entry_set(target).fingerprints
    if prints is None or not site.kind.holds_weight():
        return
    stored = cast("Tensor", site.module._parameters["weight"])  # noqa: SLF001
    if stored.device.type == "meta":
        return
    matrix = site.kind.canonical(stored.detach())
    places = torch.from_numpy(fingerprints.positions(site.shape)).to(matrix.device)
    samples = matrix[places // site.shape[1], places % site.shape[1]].float().cpu().numpy()
    if not fingerprints.agrees(prints.samples[target.row], samples, _dtype_name(stored.dtype)):
        yield _mismatch(site.name, "its base weight is not the one that the adapter was trained on")


def _replacement_differences(model: nn.Module, adapter: Adapter) -> Iterator[Violation]:
    parameters = dict(model.named_parameters())
    missing = [key for key in adapter.replacements if key not in parameters]
    if missing:
        problem = "the model has no parameter that this replaces"
        advice = "make the model with the head that was trained"
        raise TargetNotFoundError(
            Violation("E-REPLACEMENT-NOT-FOUND", key, problem, advice=advice) for key in missing
        )
    for key, value in adapter.replacements.items():
        got, expected = tuple(parameters[key].shape), tuple(value.shape)
        if got != expected:
            problem = "the model's parameter has another shape"
            yield Violation("E-REPLACEMENT-SHAPE", key, problem, str(got), str(expected))


def _values(coefficients: Array, gain: float) -> Tensor:
    return (torch.from_numpy(coefficients.astype(np.float64)) / gain).float()


def _dtype_name(dtype: torch.dtype) -> str:
    names: dict[Any, str] = {
        torch.float32: "F32",
        torch.float16: "F16",
        torch.bfloat16: "BF16",
        torch.float64: "F64",
    }
    return names.get(dtype, "F32")


def _mismatch(
    name: str, problem: str, got: str | None = None, expected: str | None = None
) -> Violation:
    return Violation("E-BASE-MISMATCH", name, problem, got, expected)
