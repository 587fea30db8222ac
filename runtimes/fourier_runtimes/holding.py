"""What a store knows of each adapter, and how its folder's index says it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fourier_format.adapter import Adapter
from fourier_format.errors import BaseMismatchError, Violation
from fourier_runtimes import index
from fourier_runtimes.layouts import Layout
from fourier_runtimes.tables import Precision


@dataclass(slots=True, eq=False)
class Held:
    """One adapter.

    Attributes:
        slots: Its slot in the table of each input that it touches.
        serial: Tells it from what was or will be loaded under its name.
        origin: The path or URL that it was loaded from; the adapter itself, if from memory; None
            of one that a folder has and that came from memory once.
        digests: Of what was stored, by input; of a store in a folder.
        checked: Whether what is stored is known to have these digests.
    """

    slots: dict[str, int]
    serial: int
    origin: str | Adapter | None
    digests: dict[str, str] = field(default_factory=dict)
    checked: bool = True


def entries(adapters: Mapping[str, Held], layouts: Mapping[str, Layout]) -> dict[str, index.Entry]:
    """Returns what the index says of `adapters`: inputs by their layouts' keys, which stay."""
    keys = {input_: layout.key for input_, layout in layouts.items()}
    return {
        name: index.Entry(
            {keys[i]: slot for i, slot in held.slots.items()},
            {keys[i]: digest for i, digest in held.digests.items()},
            held.origin if isinstance(held.origin, str) else None,
        )
        for name, held in adapters.items()
    }


def found(
    folder: Path, precision: Precision, layouts: Mapping[str, Layout], serials: Iterator[int]
) -> dict[str, Held]:
    """Returns the adapters of a folder's index, none of them checked yet.

    Raises:
        BaseMismatchError: They are of another graph or precision.
        InvalidAdapterError: The index is broken.
        FileAccessError: It cannot be read.
    """
    inputs = {layout.key: input_ for input_, layout in layouts.items()}
    adapters = {}
    for name, entry in index.read(folder, precision).items():
        if not inputs.keys() >= entry.slots.keys():
            problem = "the store in this folder is of another live graph"
            advice = "give each graph a folder of its own"
            raise BaseMismatchError(
                Violation("E-BASE-MISMATCH", str(folder), problem, advice=advice)
            )
        slots = {inputs[key]: slot for key, slot in entry.slots.items()}
        digests = {inputs[key]: digest for key, digest in entry.digests.items()}
        adapters[name] = Held(slots, next(serials), entry.origin, digests, checked=False)
    return adapters
