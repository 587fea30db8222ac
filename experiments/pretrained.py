"""Pretrained models of transformers, by a name in the folder of --models, a path or a hub name."""

from __future__ import annotations

from typing import Any

from experiments.text.models import located


def pretrained(kind: Any, name: str, **options: Any) -> Any:
    """Returns what `kind`, an Auto class or a model's, reads by its from_pretrained.

    Raises:
        SystemExit: There is no such model.
    """
    try:
        return kind.from_pretrained(located(name), **options)
    except OSError as wrong:
        advice = (
            "give the folder that holds it with --models, or set HF_HUB_OFFLINE=0 for a name of "
            "the hub"
        )
        raise SystemExit(f"{name} cannot be loaded: {advice}") from wrong
