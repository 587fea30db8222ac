"""What was trained -> an adapter, and an adapter -> what training it further was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fourier_format import __version__
from fourier_format.adapter import Adapter, Array
from fourier_format.assembly import Piece, assemble
from fourier_format.errors import InvalidAdapterError, Violation
from fourier_trainers.config import Explicit, FourierConfig, Path


def adapter_of(
    pieces: Sequence[Piece],
    replacements: Mapping[str, Array],
    config: FourierConfig,
    source: Adapter | None,
    *,
    base_model: Mapping[str, str] | None,
    labels: tuple[str, ...] | None,
    metadata: Mapping[str, Any] | None,
) -> Adapter:
    """Returns the adapter.

    Args:
        pieces: Its targets.
        replacements: What was trained whole.
        config: What was asked for.
        source: The adapter that the training began with, which says what is not said here.
        base_model: What is known of the base.
        labels: Names of classes.
        metadata: Free JSON; None takes the source's.

    Raises:
        InvalidAdapterError: A number is not finite.
    """
    _refuse_not_finite(pieces, replacements)
    entry_sets, targets = assemble(pieces)
    wanted = config.target_modules
    return Adapter(
        alpha=float(config.alpha),
        seed=config.seed if source is None else source.seed,
        transform=config.transform,
        target_modules=wanted if isinstance(wanted, str) else tuple(wanted),
        entry_sets=entry_sets,
        targets=targets,
        replacements=dict(replacements),
        base_model=base_model or (None if source is None else source.base_model),
        producer={"name": "fourier-format", "version": __version__},
        labels=labels or (None if source is None else source.labels),
        metadata=source.metadata if metadata is None and source is not None else metadata,
    )


def config_of(adapter: Adapter, gain: float, path: Path) -> FourierConfig:
    """Returns what `attach` would have been asked for, to train an adapter further."""
    return FourierConfig(
        target_modules=adapter.target_modules or tuple(target.name for target in adapter.targets),
        n=adapter.entry_sets[0].count,
        alpha=adapter.alpha,
        transform=adapter.transform,
        entries=Explicit({}),
        seed=adapter.seed or 0,
        gain=gain,
        path=path,
    )


def _refuse_not_finite(pieces: Sequence[Piece], replacements: Mapping[str, Array]) -> None:
    counts = {piece.name: _not_finite(piece.coefficients) for piece in pieces}
    sizes = {piece.name: piece.coefficients.size for piece in pieces}
    advice = "take a lower learning rate or alpha, and go back to an earlier checkpoint"
    diverged = "are not finite: the training diverged"
    wrong = [
        (name, f"{count} of {sizes[name]} coefficients {diverged}")
        for name, count in counts.items()
        if count
    ]
    wrong += [
        (name, f"{count} of {value.size} values {diverged}")
        for name, value in replacements.items()
        if (count := _not_finite(value))
    ]
    if wrong:
        raise InvalidAdapterError(
            Violation("E-NUMBER-NONFINITE", name, problem, advice=advice) for name, problem in wrong
        )


def _not_finite(values: Array) -> int:
    return int((~np.isfinite(values.astype(np.float32))).sum())
