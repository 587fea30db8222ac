"""The page's sections, one module an experiment, in the order of the page."""

from __future__ import annotations

import importlib

from experiments.evidence.blocks import Section

_ORDER = (
    "glue", "further", "curves", "bias", "bases", "architectures", "generation", "instruction",
    "images", "cost",
)  # fmt: skip


def sections() -> list[Section]:
    """Returns the sections, in the order of the page."""
    return [importlib.import_module(f"{__name__}.{name}").SECTION for name in _ORDER]
