"""A Vision Transformer that is trained on digits in a second, for tests alone."""

from __future__ import annotations

from pathlib import Path

from experiments.images.bases import Pretext
from experiments.trial import Context

PRETEXT = Pretext(
    data="digits",
    classes=(1, 3),
    rows=60,
    side=8,
    patch=4,
    layers=2,
    width=32,
    epochs=1,
    batch=30,
    rate=1e-3,
    seed=0,
    precision="float32",
)


def context(folder: Path) -> Context:
    """Returns one in which trials run in `folder`."""
    return Context(folder, folder / "shared", folder, "cpu", lambda: None)
