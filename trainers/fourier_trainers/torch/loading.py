"""load_adapter: an Adapter, or its file, onto a model, to use it or to train it on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

import fourier_format
from fourier_format import manifest
from fourier_format.adapter import Adapter, Array
from fourier_format.dtypes import BFLOAT16
from fourier_format.errors import BaseMismatchError, UsageError, Violation
from fourier_trainers import heads
from fourier_trainers.captured import config_of
from fourier_trainers.config import FourierConfig
from fourier_trainers.config import Path as ComputingPath
from fourier_trainers.torch import attaching
from fourier_trainers.torch.fitting import differences, fitted
from fourier_trainers.torch.selecting import Site, refuse_shared, sites_of
from fourier_trainers.torch.spectral.basis import Basis
from fourier_trainers.torch.state import Attached, base_parameters

M = TypeVar("M", bound=nn.Module)


def load_adapter(
    model: M,
    adapter: Adapter | str | os.PathLike[str],
    name: str = attaching.DEFAULT,
    *,
    gain: float = 1.0,
    path: ComputingPath = "auto",
    replacements: Mapping[str, str] | None = None,
) -> M:
    """Put an adapter on `model`, in place, as `attach` does; it is then the active one.

    Args:
        model: The base that it was trained on, attached or not.
        adapter: The adapter, or a .fft or .fft.h5 file. Where its names fit the model but for one
            prefix that all of them have more or less, such as "bert.", they are taken so. Where
            none fits, as of one that was trained in Keras, fingerprints say which target is which
            module, and the map is printed.
        name: What to call it.
        gain: Trained are the coefficients over `gain` (`FourierConfig`).
        path: How to compute (`FourierConfig`).
        replacements: The adapter's names of whole parameters, such as a head's, -> the model's;
            None takes them as they are. A `kernel` of Keras becomes a `weight`. What is not named
            is left out.

    Returns:
        The same model.

    Raises:
        BaseMismatchError: A target's kind, shape or fingerprint, or a replacement's shape, says
            that this is not the base.
        TargetNotFoundError: The model has no module, or no parameter, of a name.
        InvalidAdapterError: The adapter breaks a rule of the format, such as a NaN coefficient.
        UsageError: The name is taken, or `adapter` is a directory.
        UnsupportedError: A target cannot be adapted here.
    """
    given = _loaded(adapter)
    root, state = attaching.root_and_state(model, name)
    loaded = fitted(root, given)
    shapes = {name: tuple(p.shape) for name, p in base_parameters(root)}
    whole = heads.chosen(loaded if replacements is None else given, replacements, shapes)
    config = config_of(loaded, gain, path)
    sites = _sites(root, loaded, config)
    bases = {s.id: Basis(loaded.transform, s.shape, s.entries) for s in loaded.entry_sets}
    attaching.commit(
        root,
        state,
        name,
        sites,
        [bases[target.entries] for target in loaded.targets],
        [_values(loaded.coefficients(target), gain) for target in loaded.targets],
        Attached(config, (), {}, {}, source=loaded),
        {key: to_tensor(value) for key, value in whole.items()},
    )
    return model


def to_tensor(array: Array) -> Tensor:
    """Returns a copy of an array as a tensor; ml_dtypes' bfloat16 is torch's."""
    copied = np.array(array)
    if copied.dtype == BFLOAT16:
        return torch.from_numpy(copied.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(copied)


def _loaded(adapter: Adapter | str | os.PathLike[str]) -> Adapter:
    if isinstance(adapter, Adapter):
        manifest.to_document(adapter)  # held to the rules that a file is held to
        return adapter
    if Path(adapter).is_dir():
        problem, expected = "a directory, and no adapter", "a .fft or .fft.h5 file"
        advice = "make a file of PEFT's checkpoint with fourier-convert DIRECTORY --to fft"
        where = str(os.fspath(adapter))
        raise UsageError(Violation("E-USAGE", where, problem, None, expected, advice))
    return fourier_format.load(adapter)


def _sites(root: nn.Module, adapter: Adapter, config: FourierConfig) -> list[Site]:
    """Returns the modules that the adapter's targets are.

    Raises:
        BaseMismatchError: One of them is not what the adapter was trained on.
    """
    found = sites_of(root, [target.name for target in adapter.targets], config)
    refuse_shared(found)
    pairs = list(zip(found, adapter.targets, strict=True))
    wrong = [v for site, target in pairs for v in differences(site, target, adapter)]
    if wrong:
        raise BaseMismatchError(wrong)
    return [
        replace(site, n=adapter.entry_set(target).count, alpha=adapter.alpha_of(target))
        for site, target in pairs
    ]


def _values(coefficients: Array, gain: float) -> Tensor:
    return (torch.from_numpy(coefficients.astype(np.float64)) / gain).float()
