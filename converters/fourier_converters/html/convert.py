"""Adapter -> one self-contained page of HTML."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from fourier_converters.base.inputs import refuse_base
from fourier_converters.html import changes, overview, spectra
from fourier_converters.html.bases import FoundBase, read_base
from fourier_converters.html.facts import Source, source_of, title
from fourier_converters.html.grids import Spectrum
from fourier_converters.html.markup import Markup
from fourier_converters.html.measuring import CACHED, Measured, Progress, measure
from fourier_converters.html.page import Section, page
from fourier_converters.mapping import Map
from fourier_converters.report import Report, target_row
from fourier_format.adapter import Adapter
from fourier_format.atomic import refuse_existing, write_bytes


def to_html(
    adapter: Adapter,
    output: str | os.PathLike[str],
    *,
    name: str = "adapter",
    file: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    mapping: Map | None = None,
    verify_full: bool = False,
    notes: tuple[str, ...] = (),
    overwrite: bool = False,
    progress: Callable[[str], Progress] | None = None,
) -> Report:
    """Write a page that shows `adapter`: what it changes, by how much, and where.

    The same adapter, name and base give the same bytes. No delta weight is computed. Of more than
    256 targets those that change most are shown alone, and of more than 1,000 they make the table.

    Args:
        adapter: The adapter.
        output: The .html file to write.
        name: What the page calls the adapter.
        file: The file that holds the adapter, whose size and digest are shown.
        base: The model that the adapter is for; it is only read, and checked as merging does.
        mapping: What the user says of where weights lie in the base.
        verify_full: Compare the SHA-256 of every adapted weight of the base.
        notes: What else the reader of the page should know.
        overwrite: Whether `output` may exist.
        progress: Given what is done, returns what is called before each target's work.

    Returns:
        How large each change is, and where the base has each weight.

    Raises:
        TargetNotFoundError: A target or replacement was not found in the base, or not uniquely.
        BaseMismatchError: The base is not the one that the adapter was trained on.
        UnsupportedError: The base is of a sort that is not supported, or a weight is not finite.
        OutputExistsError: `output` exists and `overwrite` is false.
        UsageError: `output` is the base or holds some of its weights.
        FileAccessError: Reading or writing failed.
    """
    output = Path(output)
    file = None if file is None else Path(file)
    base = None if base is None else Path(base)
    refuse_existing(output, overwrite)
    started = progress or (lambda _: lambda _: None)
    found = FoundBase({}, ())
    if base is not None:
        refuse_base(output, base)
        step = started("reading the base")
        found = read_base(adapter, base, mapping or Map(), verify_full, step)
    measured = measure(adapter, found.weights, started("measuring"))
    notes = (*found.notes, *notes)
    source = source_of(adapter, name, file)
    shown = _page(adapter, measured, source, overview.findings(measured, notes, base is not None))
    write_bytes(output, shown.encode("utf-8", "backslashreplace"), overwrite)
    rows = [target_row(adapter, one.target, one.base.found, (), one.relative) for one in measured]
    return Report(str(output), tuple(rows), notes=notes)


def _page(
    adapter: Adapter, measured: tuple[Measured, ...], source: Source, findings: Markup
) -> str:
    from fourier_format import __version__

    sets = {entry_set.id: entry_set for entry_set in adapter.entry_sets}

    @lru_cache(CACHED)
    def spectrum(id_: str) -> Spectrum:
        return Spectrum(sets[id_], adapter.transform)

    sections = (
        Section("findings", "What stands out", findings),
        Section("change", "Change by layer", changes.by_layer(measured)),
        Section("spectrum", "Spectrum", spectra.spectra(adapter, spectrum)),
        Section("layers", "Each target", spectra.layers(adapter, measured, spectrum)),
        Section("contents", "In the file", overview.contents(adapter, source)),
    )
    heading = overview.heading(adapter, measured, source)
    return page(f"{source.name}: {title(adapter)}", __version__, heading, sections)
