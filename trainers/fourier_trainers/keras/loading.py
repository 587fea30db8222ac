"""load_adapter: an Adapter, or its file, onto a model, to use it or to train it on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import keras
import numpy as np

import fourier_format
from fourier_format import manifest
from fourier_format.adapter import Adapter, Array
from fourier_format.dtypes import dtype_name
from fourier_format.errors import (
    BaseMismatchError,
    FourierFormatError,
    TargetNotFoundError,
    Violation,
)
from fourier_format.fingerprint import frobenius_norm, samples_of
from fourier_trainers import heads, mapping
from fourier_trainers.captured import config_of
from fourier_trainers.config import FourierConfig, Path
from fourier_trainers.keras.attaching import commit, refuse_attached
from fourier_trainers.keras.coefficients import Witness
from fourier_trainers.keras.layers import LayerKind, kind_of, variable_of
from fourier_trainers.keras.naming import NAMES, named_layers, named_variables
from fourier_trainers.keras.selecting import Site, refuse_unbuilt, sites_of
from fourier_trainers.keras.spectral.basis import Basis
from fourier_trainers.keras.state import to_numpy

M = TypeVar("M")


def load_adapter(
    model: M,
    adapter: Adapter | str | os.PathLike[str],
    *,
    gain: float = 1.0,
    path: Path = "auto",
    replacements: Mapping[str, str] | None = None,
) -> M:
    """Put an adapter on `model`, in place, as `attach` does, wherever it was trained.

    Where the adapter's names are not the model's, as for one that was trained in PyTorch, or where
    they are of other layers, fingerprints say which target is which, and the map is printed.

    Args:
        model: The base that it was trained on, or its twin in Keras.
        adapter: The adapter, or a .fft or .fft.h5 file.
        gain: Trained are the coefficients over `gain` (`FourierConfig`).
        path: How to compute (`FourierConfig`).
        replacements: The adapter's names of whole weights, such as a head's, -> the model's; None
            takes them as they are. A `weight` of PyTorch becomes a `kernel` of Keras. What is not
            named is left out.

    Returns:
        The same model.

    Raises:
        BaseMismatchError: A target's kind, shape or fingerprint, or a replacement's shape, says
            that this is not the base.
        TargetNotFoundError: The model has no layer, or no weight, of a name, nor by fingerprint.
        InvalidAdapterError: The adapter breaks a rule of the format.
        UsageError: An adapter is attached already.
        UnsupportedError: A target cannot be adapted here.
    """
    refuse_attached(model)
    refuse_unbuilt(model)
    loaded = _loaded(adapter)
    config = config_of(loaded, gain, path)
    fitted, sites = _fitted(model, loaded, config)
    variables = named_variables(model)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    values = heads.chosen(loaded, replacements, shapes)
    if replacements is None and fitted is not loaded:
        _refuse_numbered(model, values)
    _refuse_adapted(sites, {name: variables[name] for name in values})
    put_on(model, fitted, sites, config, {name: variables[name] for name in values})
    for name, value in values.items():
        variables[name].assign(value)
    return model


def put_on(
    model: Any,
    adapter: Adapter,
    sites: Sequence[Site],
    config: FourierConfig,
    whole: Mapping[str, Any],
    seen: Mapping[str, Witness] | None = None,
) -> None:
    """Put an adapter on the layers that its targets are."""
    bases = {s.id: Basis(adapter.transform, s.shape, s.entries) for s in adapter.entry_sets}
    values = [
        (adapter.coefficients(t).astype(np.float64) / config.gain).astype(np.float32)
        for t in adapter.targets
    ]
    placed = [
        replace(site, n=adapter.entry_set(t).count, alpha=adapter.alpha_of(t))
        for site, t in zip(sites, adapter.targets, strict=True)
    ]
    each = [bases[t.entries] for t in adapter.targets]
    commit(model, config, placed, each, values, source=adapter, seen=seen, whole=whole)


def _refuse_numbered(model: Any, names: Iterable[str]) -> None:
    """Refuse names that Keras made: numbers differ, so that one may be another layer's."""
    layers = named_layers(model)
    wrong = []
    for name in names:
        parts = name.split(NAMES.separator)
        holding = [layers.get(NAMES.separator.join(parts[: k + 1])) for k in range(len(parts))]
        if any(layer is not None and _is_numbered(layer) for layer in holding):
            wrong.append(name)
    if wrong:
        problem = "Keras numbered this layer, and not as in the adapter's model: it may be another"
        advice = (
            "say what is which, replacements={adapter's name: model's name}, or replacements={} to "
            "go without; a layer that is made with a name keeps it"
        )
        raise TargetNotFoundError(
            Violation("E-REPLACEMENT-NOT-FOUND", name, problem, advice=advice) for name in wrong
        )


def _is_numbered(layer: Any) -> bool:
    """Whether a layer's name is what Keras makes of its class, with or without a number."""
    usual = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
    usual = re.sub("([a-z])([A-Z])", r"\1_\2", usual).lower()
    return re.fullmatch(re.escape(usual) + r"(_\d+)?", layer.name) is not None


def _refuse_adapted(sites: Sequence[Site], whole: Mapping[str, Any]) -> None:
    owners = {id(variable_of(site.layer, site.kind)): site.name for site in sites}
    both = [(name, owners[id(v)]) for name, v in whole.items() if id(v) in owners]
    if both:
        problem, advice = "this weight is adapted, and would be replaced", "give another name"
        raise BaseMismatchError(
            Violation("E-BASE-MISMATCH", name, problem, target, advice=advice)
            for name, target in both
        )


def _loaded(adapter: Adapter | str | os.PathLike[str]) -> Adapter:
    if isinstance(adapter, Adapter):
        manifest.to_document(adapter)  # held to the rules that a file is held to
        return adapter
    return fourier_format.load(adapter)


def _fitted(model: Any, adapter: Adapter, config: FourierConfig) -> tuple[Adapter, list[Site]]:
    """Returns the adapter by the model's names, and its sites: by its names, or by fingerprint."""
    layers = named_layers(model)
    named = [target.name for target in adapter.targets]
    problems: list[Violation] = []
    if all(name in layers for name in named):
        sites = sites_of(layers, named, config)
        for site, target in zip(sites, adapter.targets, strict=True):
            candidate = _candidate(site.layer, site.kind)
            problems += mapping.differences(site.name, candidate, target, adapter)
        if not problems:
            return adapter, sites
    candidates = dict(_candidates(layers))
    try:
        names = mapping.by_fingerprint(adapter, candidates)
    except TargetNotFoundError as error:
        raise (BaseMismatchError(problems) if problems else error) from None
    mapping.show(names)
    kinds = {name: candidate.kind for name, candidate in candidates.items()}
    renamed = mapping.renamed(adapter, names, kinds)
    return renamed, sites_of(layers, [target.name for target in renamed.targets], config)


def _candidates(layers: Mapping[str, Any]) -> Iterator[tuple[str, mapping.Candidate]]:
    for name, layer in layers.items():
        try:
            kind = kind_of(layer, name)
        except FourierFormatError:
            continue
        if kind is not None:
            yield name, _candidate(layer, kind)


def _candidate(layer: Any, kind: LayerKind) -> mapping.Candidate:
    variable = variable_of(layer, kind)
    dtype = str(dtype_name(np.dtype(keras.backend.standardize_dtype(variable.dtype))))

    def matrix() -> Array:
        return kind.canonical(layer, to_numpy(variable))

    held = mapping.Held(dtype, lambda: samples_of(matrix()), lambda: frobenius_norm(matrix()))
    return mapping.Candidate(kind.kind, kind.shape(layer), held)
