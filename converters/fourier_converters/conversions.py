"""From checked arguments to a report: read the sources, sum them, write one result."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from fourier_converters.base_kinds import is_onnx_base
from fourier_converters.mapping import Map, read_map
from fourier_converters.outputs import refuse_input, refuse_one_file
from fourier_converters.report import Report, of_adapter
from fourier_format import words
from fourier_format.adapter import Adapter
from fourier_format.atomic import refuse_existing

_UNVERIFIED: Final = (
    "the base was not verified: a PEFT checkpoint does not know its base; a .fft that is made "
    "from the checkpoint and its own base does"
)
_MOST_TEXT: Final = 1_000
"""Characters of the names in a note, at most."""
_SUFFIXES: Final = {
    "fft": ".fft",
    "h5": ".fft.h5",
    "peft": ".peft",
    "lora": ".lora",
    "safetensors": ".merged",
    "onnx-adapter": ".onnx_adapter",
    "html": ".html",
}


def convert(arguments: argparse.Namespace) -> Report:
    """Returns the report of what the arguments ask for, done."""
    output = arguments.output or default_output(arguments)
    sources = [*arguments.sources, *arguments.adapters]
    inputs = [*sources, *filter(None, (arguments.base, arguments.map))]
    refuse_input(output, *inputs)
    if arguments.explain is not None:
        refuse_input(arguments.explain, *inputs)
        refuse_one_file(arguments.explain, output)
    if not arguments.dry_run:
        refuse_existing(output, arguments.force)
    mapping = Map() if arguments.map is None else read_map(arguments.map)
    if arguments.base is not None:
        mapping.check_fields(is_onnx_base(arguments.base), str(arguments.map))
    if arguments.live:
        return _to_live(arguments, sources, output, mapping)
    adapter, places = _read_sources(arguments, mapping)
    if arguments.explain is not None:
        from fourier_converters.onnx.explaining import write_explanation

        base, overwrite = _graph_of(arguments.base), arguments.force
        write_explanation(adapter, base, arguments.explain, mapping=mapping, overwrite=overwrite)
    report = _write(arguments, adapter, output, mapping, places)
    return replace(report, skipped=mapping.skipped)


def default_output(arguments: argparse.Namespace) -> Path:
    """Returns a name beside the first source that says what the result is."""
    first: Path = [*arguments.sources, *arguments.adapters][0]
    first = first.resolve() if first.name in {"", ".", ".."} else first
    name = "+".join(_stem(source) for source in arguments.sources)
    name = "live" if arguments.live else name
    if arguments.adapter is not None:
        name = f"{name}-{arguments.adapter.replace('/', '-')}"
    if arguments.to == "onnx" and arguments.base.is_dir():
        return first.with_name(f"{name}.{arguments.base.resolve().name}")
    if arguments.to == "keras":
        return first.with_name(f"{name}.{arguments.base.name}")
    if arguments.to == "onnx":
        beside = arguments.base if arguments.external_data == "reference" else first
        return Path(beside).with_name(f"{name}.{arguments.base.stem}.onnx")
    return first.with_name(name + _SUFFIXES[arguments.to])


def _stem(source: Path) -> str:
    name = (source.resolve() if source.name in {"", ".", ".."} else source).name
    for suffix in (".h5", ".hdf5", ".fft"):
        name = name.removesuffix(suffix)
    return name


class _Source(NamedTuple):
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


def _read_sources(arguments: argparse.Namespace, mapping: Map) -> tuple[Adapter, dict[str, str]]:
    """Returns the sum of the sources, and where the targets of PEFT ones lie in the base."""
    read = _read_each(arguments.sources, arguments, mapping)
    places = {name: place for source in read for name, place in source.places.items()}
    adapters = [source.adapter for source in read]
    if len(adapters) == 1 and arguments.scales is None:
        return adapters[0], places
    from fourier_format.combination import combine

    return combine(adapters, arguments.scales or [1.0] * len(adapters)), places


def _read_each(
    sources: Sequence[Path], arguments: argparse.Namespace, mapping: Map
) -> list[_Source]:
    read = [_read_source(source, arguments, mapping) for source in sources]
    if arguments.map is not None:
        targets = frozenset().union(*(source.targets for source in read))
        replacements = frozenset().union(*(source.replacements for source in read))
        mapping.check_names(targets, replacements, str(arguments.map))
    return read


def _read_source(source: Path, arguments: argparse.Namespace, mapping: Map) -> _Source:
    import fourier_format

    if not source.is_dir():
        adapter = fourier_format.load(source)
        targets = frozenset(target.name for target in adapter.targets)
        return _Source(adapter, targets, frozenset(adapter.replacements), {})
    from fourier_converters.base import open_base
    from fourier_converters.peft import from_peft
    from fourier_converters.peft.checkpoint import read_checkpoint, without
    from fourier_format.fingerprint import without_fingerprints

    checkpoint = read_checkpoint(source, arguments.adapter)
    if len(arguments.sources) == 1:
        mapping.check_names(checkpoint.spectra, checkpoint.replacements, str(arguments.map))
    base = open_base(_graph_of(arguments.base), mapping, checkpoint.spectra)
    places: dict[str, str] = {}
    step = _progress(arguments, "reading the base", len(checkpoint.spectra))

    def found(module: str, place: str) -> None:
        places[module] = place
        step(module)

    adapter = from_peft(without(checkpoint, set(mapping.skipped)), base, found)
    if arguments.to in {"onnx", "safetensors"}:
        adapter = without_fingerprints(adapter)
    targets, replacements = frozenset(checkpoint.spectra), frozenset(checkpoint.replacements)
    return _Source(adapter, targets, replacements, places)


def _graph_of(base: Path) -> Path:
    """Returns the base itself; of a directory of onnxruntime-genai its graph."""
    if not (base.is_dir() and is_onnx_base(base)):
        return base
    from fourier_converters.onnx.generative import graph_of

    return graph_of(base)


def _write(
    arguments: argparse.Namespace,
    adapter: Adapter,
    output: Path,
    mapping: Map,
    places: dict[str, str],
) -> Report:
    if arguments.to in _MERGERS:
        report = _MERGERS[arguments.to](arguments, adapter, output, mapping)
        unverified = any(source.is_dir() for source in arguments.sources)
        return report.noting(_UNVERIFIED) if unverified else report
    if arguments.to == "lora":
        from fourier_converters.lora import to_lora

        return to_lora(
            adapter,
            output,
            rank=arguments.rank,
            min_energy=0.9 if arguments.min_energy is None else arguments.min_energy,
            overwrite=arguments.force,
            progress=_progress(arguments, "decomposing", len(adapter.targets)),
        )
    if arguments.to == "html":
        return _to_html(arguments, adapter, output, mapping, places)
    if arguments.to == "peft":
        from fourier_converters.peft import to_peft

        to_peft(adapter, output, overwrite=arguments.force)
    else:
        _to_file(arguments.sources, adapter, output, arguments)
    return of_adapter(adapter, str(output), places)


def _to_html(
    arguments: argparse.Namespace,
    adapter: Adapter,
    output: Path,
    mapping: Map,
    places: dict[str, str],
) -> Report:
    """A PEFT directory was read with its base, whose fingerprints the adapter then holds."""
    from fourier_converters.html import to_html

    sources = arguments.sources
    only_peft = all(source.is_dir() for source in sources)
    is_file = len(sources) == 1 and not only_peft and arguments.scales is None
    report = to_html(
        adapter,
        output,
        name=_name(arguments),
        file=sources[0] if is_file else None,
        base=None if only_peft else arguments.base,
        mapping=mapping,
        verify_full=arguments.verify == "full",
        notes=_notes(adapter, arguments, mapping),
        overwrite=arguments.force,
        progress=lambda what: _progress(arguments, what, len(adapter.targets)),
    )
    rows = [replace(row, found=row.found or places.get(row.target, "")) for row in report.rows]
    return replace(report, rows=tuple(rows))


def _name(arguments: argparse.Namespace) -> str:
    """Returns what a page calls its sources, as in "1 x a.fft + 2 x b.fft" and "peft/default"."""
    named = [
        f"{source.resolve().name}/{arguments.adapter}"
        if source.is_dir() and arguments.adapter is not None
        else source.resolve().name
        for source in arguments.sources
    ]
    if arguments.scales is not None:
        scales = map(words.number, arguments.scales)
        named = [f"{scale} x {name}" for scale, name in zip(scales, named, strict=True)]
    return " + ".join(named)


def _notes(adapter: Adapter, arguments: argparse.Namespace, mapping: Map) -> tuple[str, ...]:
    """Returns what the reader of a page of PEFT directories should know."""
    if not any(source.is_dir() for source in arguments.sources):
        return ()
    has = {target.name for target in adapter.targets} | set(adapter.replacements)
    left = [name for name in mapping.skipped if name not in has]
    if not left:
        return (_UNVERIFIED,)
    names = words.shortened(", ".join(left), _MOST_TEXT)
    return (_UNVERIFIED, f"{len(left):,} left out by the map, so not on this page: {names}")


def _to_file(
    sources: Sequence[Path], adapter: Adapter, output: Path, arguments: argparse.Namespace
) -> None:
    """A file that is only re-wrapped keeps its manifest's very text."""
    from fourier_format.files import transcode, write

    if len(sources) == 1 and not sources[0].is_dir() and arguments.scales is None:
        transcode(sources[0], output, arguments.to, overwrite=arguments.force)
    else:
        write(adapter, output, arguments.to, overwrite=arguments.force)


def _to_onnx(arguments: argparse.Namespace, adapter: Adapter, output: Path, mapping: Map) -> Report:
    from fourier_converters.onnx import to_onnx, to_onnx_directory

    settings: dict[str, Any] = {
        "mapping": mapping,
        "quantized": arguments.quantized or "live",
        "verify_full": arguments.verify == "full",
        "overwrite": arguments.force,
        "dry_run": arguments.dry_run,
        "progress": _progress(arguments, "merging", len(adapter.targets)),
    }
    if arguments.base.is_dir():
        return to_onnx_directory(adapter, arguments.base, output, **settings)
    settings["external_data"] = arguments.external_data or "copy"
    return to_onnx(adapter, arguments.base, output, **settings)


def _to_live(
    arguments: argparse.Namespace, sources: Sequence[Path], output: Path, mapping: Map
) -> Report:
    from fourier_converters.onnx.live import to_live, to_live_directory

    adapters = [source.adapter for source in _read_each(sources, arguments, mapping)]
    settings: dict[str, Any] = {
        "mapping": mapping,
        "static": arguments.static,
        "verify_full": arguments.verify == "full",
        "overwrite": arguments.force,
        "dry_run": arguments.dry_run,
        "progress": _progress(arguments, "grafting", len(adapters[0].targets)),
    }
    if arguments.base.is_dir():
        return to_live_directory(adapters, arguments.base, output, **settings)
    settings["reference"] = arguments.external_data == "reference"
    return to_live(adapters, arguments.base, output, **settings)


def _to_safetensors(
    arguments: argparse.Namespace, adapter: Adapter, output: Path, mapping: Map
) -> Report:
    from fourier_converters.safetensors import to_checkpoint

    return to_checkpoint(
        adapter,
        arguments.base,
        output,
        mapping=mapping,
        verify_full=arguments.verify == "full",
        overwrite=arguments.force,
        progress=_progress(arguments, "merging", len(adapter.targets)),
    )


def _to_keras(
    arguments: argparse.Namespace, adapter: Adapter, output: Path, mapping: Map
) -> Report:
    from fourier_converters.keras import to_keras

    return to_keras(
        adapter,
        arguments.base,
        output,
        mapping=mapping,
        verify_full=arguments.verify == "full",
        overwrite=arguments.force,
        dry_run=arguments.dry_run,
        progress=_progress(arguments, "merging", len(adapter.targets)),
    )


def _to_onnx_adapter(
    arguments: argparse.Namespace, adapter: Adapter, output: Path, _: Map
) -> Report:
    from fourier_converters.onnx.live.adapter_file import to_onnx_adapter

    return to_onnx_adapter(adapter, arguments.base, output, overwrite=arguments.force)


_MERGERS: Final = {
    "onnx": _to_onnx,
    "safetensors": _to_safetensors,
    "keras": _to_keras,
    "onnx-adapter": _to_onnx_adapter,
}


def _progress(arguments: argparse.Namespace, what: str, total: int) -> Callable[[str], None]:
    """Returns a function that moves a progress bar, where someone sees it."""
    if arguments.quiet or arguments.json or not sys.stderr.isatty():
        return lambda _: None
    from tqdm import tqdm

    bar = tqdm(total=total, desc=what, unit="weight", leave=False, delay=0.5)

    def step(name: str) -> None:
        bar.set_postfix_str(name[-40:], refresh=False)
        bar.update()
        if bar.n >= total:
            bar.close()

    return step
