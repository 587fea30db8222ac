"""The page's sections, one module an experiment, in the order of the page."""

from __future__ import annotations

import importlib
import importlib.util

from experiments.evidence.blocks import Section

_ORDER = (
    "glue", "curves", "bias", "bases", "architectures", "generation", "instruction", "images",
    "cost",
)  # fmt: skip


def sections() -> list[Section]:
    """Returns the sections whose module is there."""
    names = [f"{__name__}.{name}" for name in _ORDER]
    found = [name for name in names if importlib.util.find_spec(name) is not None]
    return [importlib.import_module(name).SECTION for name in found]
