"""capture: an attached model -> Adapter, with fingerprints of its base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fourier_format.adapter import Adapter, Array, Sampling
from fourier_format.assembly import Piece
from fourier_format.errors import (
    BaseMismatchError,
    UnsupportedError,
    UsageError,
    Violation,
)
from fourier_format.fingerprint import fingerprint
from fourier_trainers.captured import adapter_of
from fourier_trainers.drawing import recipe_of
from fourier_trainers.keras.coefficients import Coefficients
from fourier_trainers.keras.layers import variable_of
from fourier_trainers.keras.naming import named_variables
from fourier_trainers.keras.selecting import Site
from fourier_trainers.keras.state import State, found_state, to_numpy, witness


def capture(model: Any, *, metadata: Mapping[str, Any] | None = None) -> Adapter:
    """Returns what was trained, as an adapter; `fourier_format.save` makes it a file.

    Args:
        model: An attached model, or one that holds it.
        metadata: Free JSON to put into the file.

    Raises:
        BaseMismatchError: A target's base weight has changed since the adapter was attached, or
            weights of the base are trained that would not be in the adapter.
        InvalidAdapterError: A coefficient is not finite.
        UnsupportedError: Of several targets that were trained, some were never used.
        UsageError: No adapter is attached, or its delta weights are merged.
    """
    root, state = found_state(model)
    if state.kept:
        problem, advice = "delta weights are merged", "capture before merge, or unmerge(model)"
        raise UsageError(Violation("E-USAGE", "model", problem, advice=advice))
    _refuse_changed(state)
    refuse_lost(model, state)
    _refuse_unreached(state)
    pieces = [_piece(site, state) for site in state.sites]
    replacements = {name: to_numpy(variable) for name, variable in state.whole.items()}
    source = state.source
    return adapter_of(
        pieces,
        replacements,
        state.config,
        source,
        base_model={"name": root.name} if source is None else source.base_model,
        labels=None,
        metadata=metadata,
    )


def coefficients_of(member: Coefficients) -> Array:
    """Returns the adapter's coefficients, (n,) float32."""
    trained = to_numpy(member.coefficients)
    if member.gain == 1:
        return trained.astype(np.float32)
    return (trained.astype(np.float64) * member.gain).astype(np.float32)


def _piece(site: Site, state: State) -> Piece:
    member: Coefficients = site.layer.fourier
    stored = to_numpy(variable_of(site.layer, site.kind))
    return Piece(
        name=site.name,
        kind=site.kind.kind,
        shape=site.shape,
        entries=np.asarray(member.basis.entries),
        coefficients=coefficients_of(member),
        alpha=None if member.alpha == state.config.alpha else float(member.alpha),
        sampling=_recipe(site, state),
        fingerprint=fingerprint(site.kind.canonical(site.layer, stored), site.name),
    )


def _recipe(site: Site, state: State) -> Sampling | None:
    if state.source is None:
        return recipe_of(state.config, site.shape)
    return state.source.entry_set(state.source.target(site.name)).sampling


def _refuse_changed(state: State) -> None:
    changed = [
        site.name
        for site in state.sites
        if (then := site.layer.fourier.witness) is not None
        and not then.agrees(witness(site.layer, site.kind))
    ]
    if changed:
        problem = "its base weight is not the one that the adapter was attached to"
        advice = "attach after the base is loaded, and train nothing else of it but modules_to_save"
        raise BaseMismatchError(
            Violation("E-BASE-MISMATCH", name, problem, advice=advice) for name in changed
        )


def refuse_lost(model: Any, state: State) -> None:
    """Refuse to leave out what is trained beside the adapter, as a head around it would be.

    Raises:
        BaseMismatchError: A weight of `model` is trained that is none of the adapter's.
    """
    own = {id(v) for v in state.whole.values()}
    own |= {id(site.layer.fourier.coefficients) for site in state.sites}
    trained = {id(v) for v in model.trainable_variables} - own
    lost = [name for name, v in named_variables(model).items() if id(v) in trained]
    if lost:
        problem = "this weight of the base is trained, and would not be in the adapter"
        advice = "attach to the whole model and name its layer in modules_to_save, or freeze it"
        raise BaseMismatchError(
            Violation("E-BASE-MISMATCH", name, problem, advice=advice) for name in lost
        )


def _refuse_unreached(state: State) -> None:
    missed = [site.name for site in state.sites if not site.layer.fourier.reached]
    if state.config.reached == "unchecked" or len(missed) in {0, len(state.sites)}:
        return
    problem = "the model does not use this target, and its coefficients were not trained"
    advice = 'leave it out, or take FourierConfig(reached="unchecked") where targets take turns'
    raise UnsupportedError(
        Violation("E-TARGET-UNREACHED", name, problem, advice=advice) for name in missed
    )
