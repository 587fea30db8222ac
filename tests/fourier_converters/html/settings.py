"""Adapters of every transform and size, and pages of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fourier_converters.html import to_html
from fourier_format import Adapter, EntrySet, Target, sampling
from tests.fourier_format import samples

HOSTILE = "</title><script>alert(1)</script>\"'&amp;<img src=x onerror=alert(2)>\u202e.${title}"
"""A name that is markup, a template's placeholder and a change of direction."""


def made(
    names: Sequence[str],
    shape: tuple[int, int] = (24, 36),
    n: int = 40,
    transform: str = "dft2",
    alpha: float = 30.0,
    **fields: Any,
) -> Adapter:
    """Returns an adapter of one entry set, whose later targets change more."""
    drawn = sampling.draw(shape, n, samples.UNIFORM, 7)
    growing = np.linspace(0.5, 1.0, len(names))[:, None]
    values = np.random.default_rng(0).standard_normal((len(names), n)) * growing
    entry_set = EntrySet(
        id=f"{shape[0]}x{shape[1]}",
        shape=shape,
        entries=drawn,
        coefficients=values.astype(np.float32),
        sampling=samples.UNIFORM,
    )
    targets = tuple(
        Target(name=name, kind="linear", shape=shape, entries=entry_set.id, row=row)
        for row, name in enumerate(names)
    )
    return Adapter(
        alpha=alpha,
        seed=7,
        transform=transform,
        entry_sets=(entry_set,),
        targets=targets,
        **fields,
    )


def hostile() -> Adapter:
    """Returns an adapter in which everything that is text is hostile."""
    return made(
        [f"layers.{i}.{HOSTILE}" for i in range(2)],
        target_modules=(HOSTILE,),
        base_model={"name": HOSTILE, "revision": HOSTILE},
        producer={"name": HOSTILE, "version": "1"},
        labels=(HOSTILE, "cat"),
        origin={"format": "peft", "text": HOSTILE},
        metadata={HOSTILE: [HOSTILE, "$style", "two\nlines"]},
        replacements={HOSTILE: np.ones((2, 36), np.float32)},
    )


def layered(blocks: int = 4) -> Adapter:
    """Returns an adapter of numbered blocks with two modules each."""
    modules = ("self_attn.q_proj", "self_attn.v_proj")
    return made([f"model.layers.{i}.{module}" for i in range(blocks) for module in modules])


def page(adapter: Adapter, folder: Path, **settings: Any) -> str:
    """Returns the text of an adapter's page."""
    output = folder / "page.html"
    to_html(adapter, output, overwrite=True, **settings)
    return output.read_text("utf-8")
