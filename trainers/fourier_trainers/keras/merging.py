"""merge and unmerge: the delta weights put into the base's weights, and taken out again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from fourier_format import transforms
from fourier_format.adapter import Array
from fourier_format.dtypes import dtype_name, round_once
from fourier_format.errors import BaseMismatchError, InvalidAdapterError, UsageError, Violation
from fourier_trainers.keras.adapted import become_adapted, become_holding, become_plain
from fourier_trainers.keras.attaching import exchanged
from fourier_trainers.keras.capturing import coefficients_of
from fourier_trainers.keras.coefficients import Coefficients
from fourier_trainers.keras.layers import variable_of
from fourier_trainers.keras.selecting import Site
from fourier_trainers.keras.state import State, found_state, to_numpy, witness
from fourier_trainers.keras.tracing import forget_traces

M = TypeVar("M")


def merge(model: M) -> M:
    """Put the delta weights into the weights; the base's are kept beside them, for `unmerge`.

    Each sum is computed in float64 and rounded once to the weight's dtype. While merged, the layers
    are plain ones: a forward costs what the base's costs, and `save`, `save_weights` and
    `export_base` write a plain model with the merged weights. It is not trained.

    Returns:
        The same model.

    Raises:
        UsageError: No adapter is attached, or it is merged already.
        InvalidAdapterError: A coefficient is not finite.
    """
    _, state = found_state(model)
    if state.kept:
        raise UsageError(Violation("E-USAGE", "model", "delta weights are merged already"))
    stored = {s.name: to_numpy(variable_of(s.layer, s.kind)) for s in state.sites}
    members = {s.name: s.layer.fourier for s in state.sites}
    _refuse_not_finite(members)
    merged = {
        s.name: _sum(stored[s.name], s.kind.stored(s.layer, _delta(members[s.name])))
        for s in state.sites
    }
    state.kept, state.members = stored, members
    for layer in exchanged(state):
        become_plain(layer)
    _assign(state, merged)
    state.merged = {s.name: witness(s.layer, s.kind) for s in state.sites}
    forget_traces(exchanged(state))
    return model


def unmerge(model: M) -> M:
    """Put the base's own weights back, bit for bit, and the adapter beside them.

    Returns:
        The same model.

    Raises:
        UsageError: Nothing is merged.
        BaseMismatchError: Weights were changed while they were merged.
    """
    _, state = found_state(model)
    if not state.kept:
        raise UsageError(Violation("E-USAGE", "model", "nothing is merged"))
    changed = [s.name for s in state.sites if not _is_merged(s, state)]
    if changed:
        problem = "its weight was changed while the delta weight was merged into it"
        advice = "load the base again and load_adapter, or go on with the merged model"
        raise BaseMismatchError(
            Violation("E-BASE-MISMATCH", n, problem, advice=advice) for n in changed
        )
    _assign(state, state.kept)
    for site in state.sites:
        become_adapted(site.layer, site.kind, state.members[site.name])
    for layer in state.holders:
        become_holding(layer)
    state.kept, state.members, state.merged = {}, {}, {}
    forget_traces(exchanged(state))
    return model


def _refuse_not_finite(members: Mapping[str, Coefficients]) -> None:
    wrong = [name for name, m in members.items() if not np.isfinite(coefficients_of(m)).all()]
    if wrong:
        problem = "coefficients are not finite: the training diverged"
        raise InvalidAdapterError(Violation("E-NUMBER-NONFINITE", name, problem) for name in wrong)


def _is_merged(site: Site, state: State) -> bool:
    return state.merged[site.name].agrees(witness(site.layer, site.kind))


def _delta(member: Coefficients) -> Array:
    """Returns the delta weight, (out, in) float64 (spec, clause 3.2)."""
    basis = member.basis
    transform = transforms.named(basis.transform)
    coefficients = coefficients_of(member)
    rows = transform.rows(basis.entries, coefficients, basis.shape, member.alpha, np.float64)
    return np.asarray(rows(0, basis.shape[0]))


def _sum(stored: Array, delta: Array) -> Array:
    return round_once(stored.astype(np.float64) + delta, str(dtype_name(stored.dtype)))


def _assign(state: State, values: dict[str, Array]) -> None:
    for site in state.sites:
        variable: Any = variable_of(site.layer, site.kind)
        variable.assign(values[site.name])
