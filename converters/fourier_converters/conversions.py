"""From a checked request to a report: read the sources, sum them, write one result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fourier_converters.base.inputs import refuse_base
from fourier_converters.base_kinds import is_onnx_base
from fourier_converters.mapping import Map, read_map
from fourier_converters.outputs import default_output, refuse_input, refuse_one_file
from fourier_converters.progress import progress
from fourier_converters.reading import graph_of, read_each, read_sources
from fourier_converters.report import Report, of_adapter
from fourier_converters.request import Request
from fourier_format import words
from fourier_format.adapter import Adapter
from fourier_format.atomic import refuse_existing

_UNVERIFIED: Final = (
    "the base was not verified: a PEFT checkpoint does not know its base; a .fft that is made "
    "from the checkpoint and its own base does"
)
_MOST_TEXT: Final = 1_000
"""Characters of the names in a note, at most."""


def convert(request: Request) -> Report:
    """Returns the report of what is asked for, done."""
    output = request.output or default_output(request)
    inputs = [*request.files, *filter(None, (request.base, request.map))]
    refuse_input(output, *inputs)
    if request.explain is not None:
        refuse_input(request.explain, *inputs)
        refuse_one_file(request.explain, output)
    if not request.dry_run:
        refuse_existing(output, request.force)
    mapping = Map() if request.map is None else read_map(request.map)
    if request.base is not None:
        refuse_base(output, request.base)
        mapping.check_fields(is_onnx_base(request.base), str(request.map))
    if request.live:
        return _to_live(request, output, mapping)
    adapter, places = read_sources(request, mapping)
    if request.explain is not None:
        from fourier_converters.onnx.explaining import write_explanation

        base, overwrite = graph_of(request.given_base), request.force
        write_explanation(adapter, base, request.explain, mapping=mapping, overwrite=overwrite)
    report = _write(request, adapter, output, mapping, places)
    return replace(report, skipped=mapping.skipped)


def _write(
    request: Request,
    adapter: Adapter,
    output: Path,
    mapping: Map,
    places: dict[str, str],
) -> Report:
    if request.to in _MERGERS:
        report = _MERGERS[request.to](request, adapter, output, mapping)
        unverified = any(source.is_dir() for source in request.sources)
        return report.noting(_UNVERIFIED) if unverified else report
    if request.to == "lora":
        from fourier_converters.lora import to_lora

        return to_lora(
            adapter,
            output,
            rank=request.given_rank,
            min_energy=0.9 if request.min_energy is None else request.min_energy,
            overwrite=request.force,
            progress=progress(request, "decomposing", len(adapter.targets)),
        )
    if request.to == "html":
        return _to_html(request, adapter, output, mapping, places)
    if request.to == "peft":
        from fourier_converters.peft import to_peft

        to_peft(adapter, output, overwrite=request.force)
    else:
        _to_file(request, adapter, output)
    return of_adapter(adapter, str(output), places)


def _to_html(
    request: Request,
    adapter: Adapter,
    output: Path,
    mapping: Map,
    places: dict[str, str],
) -> Report:
    """A PEFT directory was read with its base, whose fingerprints the adapter then holds."""
    from fourier_converters.html import to_html

    sources = request.sources
    only_peft = all(source.is_dir() for source in sources)
    is_file = len(sources) == 1 and not only_peft and request.scales is None
    report = to_html(
        adapter,
        output,
        name=_name(request),
        file=sources[0] if is_file else None,
        base=None if only_peft else request.base,
        mapping=mapping,
        verify_full=request.verify_full,
        notes=_notes(adapter, request, mapping),
        overwrite=request.force,
        progress=lambda what: progress(request, what, len(adapter.targets)),
    )
    rows = [replace(row, found=row.found or places.get(row.target, "")) for row in report.rows]
    return replace(report, rows=tuple(rows))


def _name(request: Request) -> str:
    """Returns what a page calls its sources, as in "1 x a.fft + 2 x b.fft" and "peft/default"."""
    named = [
        f"{source.resolve().name}/{request.adapter}"
        if source.is_dir() and request.adapter is not None
        else source.resolve().name
        for source in request.sources
    ]
    if request.scales is not None:
        scales = map(words.number, request.scales)
        named = [f"{scale} x {name}" for scale, name in zip(scales, named, strict=True)]
    return " + ".join(named)


def _notes(adapter: Adapter, request: Request, mapping: Map) -> tuple[str, ...]:
    """Returns what the reader of a page of PEFT directories should know."""
    if not any(source.is_dir() for source in request.sources):
        return ()
    has = {target.name for target in adapter.targets} | set(adapter.replacements)
    left = [name for name in mapping.skipped if name not in has]
    if not left:
        return (_UNVERIFIED,)
    names = words.shortened(", ".join(left), _MOST_TEXT)
    return (_UNVERIFIED, f"{len(left):,} left out by the map, so not on this page: {names}")


def _to_file(request: Request, adapter: Adapter, output: Path) -> None:
    """A file that is only re-wrapped keeps its manifest's very text."""
    from fourier_format.files import Container, transcode, write

    container: Container = "h5" if request.to == "h5" else "fft"
    sources = request.sources
    if len(sources) == 1 and not sources[0].is_dir() and request.scales is None:
        transcode(sources[0], output, container, overwrite=request.force)
    else:
        write(adapter, output, container, overwrite=request.force)


def _to_onnx(request: Request, adapter: Adapter, output: Path, mapping: Map) -> Report:
    from fourier_converters.onnx import to_onnx, to_onnx_directory

    settings: dict[str, Any] = {
        "mapping": mapping,
        "quantized": request.quantized or "live",
        "verify_full": request.verify_full,
        "overwrite": request.force,
        "dry_run": request.dry_run,
        "progress": progress(request, "merging", len(adapter.targets)),
    }
    if request.given_base.is_dir():
        return to_onnx_directory(adapter, request.given_base, output, **settings)
    settings["external_data"] = request.external_data or "copy"
    return to_onnx(adapter, request.given_base, output, **settings)


def _to_live(request: Request, output: Path, mapping: Map) -> Report:
    from fourier_converters.onnx.live import to_live, to_live_directory

    adapters = [source.adapter for source in read_each(request.files, request, mapping)]
    settings: dict[str, Any] = {
        "mapping": mapping,
        "static": request.static,
        "verify_full": request.verify_full,
        "overwrite": request.force,
        "dry_run": request.dry_run,
        "progress": progress(request, "grafting", len(adapters[0].targets)),
    }
    if request.given_base.is_dir():
        return to_live_directory(adapters, request.given_base, output, **settings)
    settings["reference"] = request.external_data == "reference"
    return to_live(adapters, request.given_base, output, **settings)


def _to_safetensors(request: Request, adapter: Adapter, output: Path, mapping: Map) -> Report:
    from fourier_converters.safetensors import to_checkpoint

    return to_checkpoint(
        adapter,
        request.given_base,
        output,
        mapping=mapping,
        verify_full=request.verify_full,
        overwrite=request.force,
        progress=progress(request, "merging", len(adapter.targets)),
    )


def _to_keras(request: Request, adapter: Adapter, output: Path, mapping: Map) -> Report:
    from fourier_converters.keras import to_keras

    return to_keras(
        adapter,
        request.given_base,
        output,
        mapping=mapping,
        verify_full=request.verify_full,
        overwrite=request.force,
        dry_run=request.dry_run,
        progress=progress(request, "merging", len(adapter.targets)),
    )


def _to_onnx_adapter(request: Request, adapter: Adapter, output: Path, _: Map) -> Report:
    from fourier_converters.onnx.live.adapter_file import to_onnx_adapter

    return to_onnx_adapter(adapter, request.given_base, output, overwrite=request.force)


_MERGERS: Final = {
    "onnx": _to_onnx,
    "safetensors": _to_safetensors,
    "keras": _to_keras,
    "onnx-adapter": _to_onnx_adapter,
}
