"""Reads the adapters that are given: files, and PEFT directories with their base."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fourier_converters.base_kinds import is_onnx_base
from fourier_converters.mapping import Map
from fourier_converters.progress import progress
from fourier_converters.request import Request
from fourier_format.adapter import Adapter


class Source(NamedTuple):
    """What was read of one source.

    Attributes:
        adapter: The adapter; of a PEFT directory without what the map skips.
        targets: The names of its targets, those that the map skips included.
        replacements: The names of its replacements, likewise.
        places: Where the targets of a PEFT directory lie in the base.
    """

    adapter: Adapter
    targets: frozenset[str]
    replacements: frozenset[str]
    places: dict[str, str]


def read_sources(request: Request, mapping: Map) -> tuple[Adapter, dict[str, str]]:
    """Returns the sum of the sources, and where the targets of PEFT ones lie in the base."""
    read = read_each(request.sources, request, mapping)
    places = {name: place for source in read for name, place in source.places.items()}
    adapters = [source.adapter for source in read]
    if len(adapters) == 1 and request.scales is None:
        return adapters[0], places
    from fourier_format.combination import combine

    return combine(adapters, request.scales or [1.0] * len(adapters)), places


def read_each(sources: Sequence[Path], request: Request, mapping: Map) -> list[Source]:
    """Returns what is in each of `sources`; the map's names are those of all together."""
    read = [_read_source(source, request, mapping) for source in sources]
    if request.map is not None:
        targets = frozenset().union(*(source.targets for source in read))
        replacements = frozenset().union(*(source.replacements for source in read))
        mapping.check_names(targets, replacements, str(request.map))
    return read


def _read_source(source: Path, request: Request, mapping: Map) -> Source:
    import fourier_format

    if not source.is_dir():
        adapter = fourier_format.load(source)
        targets = frozenset(target.name for target in adapter.targets)
        return Source(adapter, targets, frozenset(adapter.replacements), {})
    from fourier_converters.base import open_base
    from fourier_converters.peft import from_peft
    from fourier_converters.peft.checkpoint import read_checkpoint, without
    from fourier_format.fingerprint import without_fingerprints

    checkpoint = read_checkpoint(source, request.adapter)
    if len(request.sources) == 1:
        mapping.check_names(checkpoint.spectra, checkpoint.replacements, str(request.map))
    base = open_base(graph_of(request.given_base), mapping, checkpoint.spectra)
    places: dict[str, str] = {}
    step = progress(request, "reading the base", len(checkpoint.spectra))

    def found(module: str, place: str) -> None:
        places[module] = place
        step(module)

    adapter = from_peft(without(checkpoint, set(mapping.skipped)), base, found)
    if request.to in {"onnx", "safetensors"}:
        adapter = without_fingerprints(adapter)
    targets, replacements = frozenset(checkpoint.spectra), frozenset(checkpoint.replacements)
    return Source(adapter, targets, replacements, places)


def graph_of(base: Path) -> Path:
    """Returns the base itself; of a directory of onnxruntime-genai its graph."""
    if not (base.is_dir() and is_onnx_base(base)):
        return base
    from fourier_converters.onnx import generative

    return generative.graph_of(base)
