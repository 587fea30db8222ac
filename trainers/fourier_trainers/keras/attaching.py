"""attach and detach: a model becomes trainable by coefficients, and what it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import keras
import numpy as np

from fourier_format.adapter import Adapter, Array
from fourier_format.errors import UsageError, Violation
from fourier_trainers.config import FourierConfig
from fourier_trainers.drawing import bases_of
from fourier_trainers.keras.adapted import ATTRIBUTE as FOURIER
from fourier_trainers.keras.adapted import (
    become_adapted,
    become_holding,
    become_plain,
    is_exchanged,
    plain,
    tracker_of,
)
from fourier_trainers.keras.backends import refuse_backend
from fourier_trainers.keras.coefficients import Coefficients, Witness
from fourier_trainers.keras.freezing import freeze, thaw
from fourier_trainers.keras.layers import refused
from fourier_trainers.keras.naming import NAMES, named_layers
from fourier_trainers.keras.selecting import Site, select, trained_whole
from fourier_trainers.keras.spectral.basis import Basis
from fourier_trainers.keras.state import (
    ATTRIBUTE,
    State,
    attached_in,
    found_state,
    to_numpy,
    witness,
)
from fourier_trainers.keras.tracing import forget_traces
from fourier_trainers.refusals import refuse_not_finite

M = TypeVar("M")


def attach(model: M, config: FourierConfig) -> M:
    """Adapt `model` in place: freeze it, and give each target coefficients to train.

    The model stays the object that it is; its weights keep their values and paths, and each target
    has one weight more, `<target>/fourier/coefficients`. Compile the model after this, not before.
    Layers with state of their own, such as BatchNormalization, are frozen as layers and keep it,
    unless they are in `modules_to_save`; a layer of your own that changes its state in `call`
    should do so only if `self.trainable`, as Keras's layers do.

    Args:
        model: Any Keras model or layer that has been built.
        config: What to adapt, and how; the same as in PyTorch.

    Returns:
        The same model.

    Raises:
        UsageError: An adapter is attached already, or n does not fit.
        TargetNotFoundError: A name in `config` matches nothing.
        UnsupportedError: A target cannot be adapted, or was never built.
    """
    if type(config) is not FourierConfig:
        got, expected = type(config).__name__, "a FourierConfig"
        raise UsageError(Violation("E-USAGE", "config", "not a configuration", got, expected))
    refuse_attached(model)
    sites = select(model, config)
    random = np.random.default_rng(config.seed)
    values = [_start(site, config, random) for site in sites]
    commit(model, config, sites, bases_of(sites, config, Basis), values)
    return model


def commit(
    model: Any,
    config: FourierConfig,
    sites: Sequence[Site],
    bases: Sequence[Basis],
    values: Sequence[Array],
    *,
    source: Adapter | None = None,
    seen: Mapping[str, Witness] | None = None,
    whole: Mapping[str, Any] | None = None,
) -> None:
    """Put an adapter on a model: what could fail is done before anything is changed.

    Args:
        model: The model.
        config: What is remembered of what was asked for.
        sites: Its targets.
        bases: The basis of each.
        values: (n,) what each trains at first.
        source: The adapter that is loaded, if one is.
        seen: Witnesses of the targets' weights; None takes them.
        whole: Weights that are trained whole, by name; None takes those that `config` means.

    Raises:
        UnsupportedError: A layer cannot be opened for a weight more, or its weight is not finite.
    """
    for site in sites:
        tracker_of(site.layer)  # an error, if it cannot be opened
        if hasattr(site.layer, FOURIER):
            problem = f"it has an attribute {FOURIER!r} of its own, where its coefficients would be"
            raise refused(site.name, problem, type(site.layer).__name__, "give it another name")
    if seen is None:
        seen = {site.name: witness(site.layer, site.kind) for site in sites}
        refuse_not_finite({name: one.norm for name, one in seen.items()})
    trained = trained_whole(model, config, sites) if whole is None else whole
    count = len(sites)
    members = [_member(*each, config, count) for each in zip(sites, bases, values, strict=True)]
    for site, member in zip(sites, members, strict=True):
        member.witness = seen.get(site.name)
    holders = tuple(_holders(model, {id(site.layer) for site in sites}))
    state = State(
        config=config,
        sites=tuple(sites),
        whole=trained,
        originals={name: to_numpy(variable) for name, variable in trained.items()},
        frozen=freeze(model, {id(variable) for variable in trained.values()}),
        holders=holders,
        source=source,
    )
    for site, member in zip(sites, members, strict=True):
        become_adapted(site.layer, site.kind, member)
    for layer in holders:
        become_holding(layer)
    vars(model)[ATTRIBUTE] = state
    forget_traces(exchanged(state))


def detach(model: M) -> M:
    """Take the adapter off; the model is what it was before `attach`.

    Returns:
        The same model, its base's weights bit for bit.

    Raises:
        UsageError: No adapter is attached, or delta weights are merged.
    """
    root, state = found_state(model)
    if state.kept:
        problem, advice = "delta weights are merged", "unmerge(model) first"
        raise UsageError(Violation("E-USAGE", "model", problem, advice=advice))
    for layer in exchanged(state):
        become_plain(layer)
    for name, value in state.originals.items():
        state.whole[name].assign(value)
    thaw(state.frozen)
    del vars(root)[ATTRIBUTE]
    forget_traces(exchanged(state))
    return model


@contextlib.contextmanager
def as_base(model: Any) -> Iterator[None]:
    """Inside, a model is its base: without adapter, and with the base's heads and biases.

    A merged model stays as it is.

    Raises:
        UsageError: It is a part of a model that an adapter is attached to.
    """
    _refuse_part(model)
    with contextlib.ExitStack() as stack:
        for root in attached_in(model):
            state: State = vars(root)[ATTRIBUTE]
            if not state.kept:
                stack.enter_context(plain(exchanged(state)))
                stack.enter_context(_with_originals(state))
        yield


@contextlib.contextmanager
def _with_originals(state: State) -> Iterator[None]:
    trained = {name: to_numpy(state.whole[name]) for name in state.originals}
    try:
        for name, value in state.originals.items():
            state.whole[name].assign(value)
        yield
    finally:
        for name, value in trained.items():
            state.whole[name].assign(value)


def exchanged(state: State) -> list[Any]:
    """Returns the layers whose class is exchanged: targets, and those around them."""
    return [*(site.layer for site in state.sites), *state.holders]


def refuse_attached(model: Any) -> None:
    """Refuse a model that has an adapter, or holds one that has.

    Raises:
        UsageError: It does, or it is no Keras layer.
        UnsupportedError: The backend cannot train.
    """
    refuse_backend()
    if not isinstance(model, keras.layers.Layer):
        got, expected = type(model).__name__, "a Keras model or layer"
        raise UsageError(Violation("E-USAGE", "model", "not a model", got, expected))
    if attached_in(model):
        problem = "the model, or a layer in it, has an adapter attached already"
        advice = "detach(model) first; one adapter is attached at a time"
        raise UsageError(Violation("E-USAGE", model.name, problem, advice=advice))
    _refuse_part(model)


def _refuse_part(model: Any) -> None:
    inside = is_exchanged(model) or any(map(is_exchanged, named_layers(model).values()))
    if inside and not attached_in(model):
        problem = "it is a part of a model that an adapter is attached to"
        advice = "give the model that was attached, or detach it first"
        raise UsageError(Violation("E-USAGE", model.name, problem, advice=advice))


def _start(site: Site, config: FourierConfig, random: np.random.Generator) -> Array:
    if config.init == "zeros":
        return np.zeros(site.n, np.float32)
    return (random.standard_normal(site.n) / config.gain).astype(np.float32)


def _member(
    site: Site, basis: Basis, values: Array, config: FourierConfig, count: int
) -> Coefficients:
    dtype = "float64" if site.layer.variable_dtype == "float64" else "float32"
    with contextlib.ExitStack() as scopes:
        for part in site.name.split(NAMES.separator):  # the variable's path begins with them
            scopes.enter_context(keras.name_scope(part))
        return Coefficients(values, basis, site.alpha, config.gain, config.path, dtype, count)


def _holders(model: Any, targets: set[int]) -> Iterator[Any]:
    """Yields the layers that hold a target, at any depth, and are none."""
    for layer in (model, *named_layers(model).values()):
        inner = named_layers(layer).values()
        if id(layer) not in targets and any(id(one) in targets for one in inner):
            yield layer
