"""What an adapter says of itself: names, recipe, sizes, and what else is in its file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fourier_converters.html.markup import percent
from fourier_converters.html.measuring import LORA_RANK
from fourier_format import words
from fourier_format.adapter import Adapter
from fourier_format.files import read_document
from fourier_format.manifest import to_document

LONGEST: Final = 1000
"""Characters of one text in a table, at most."""

_NAMES: Final = 20
"""Names of target modules, at most."""


@dataclass(frozen=True, slots=True)
class Source:
    """The file that a page is about.

    Attributes:
        name: What the page is called.
        size: Bytes of the file; None where the adapter has none of its own.
        digest: The SHA-256 of the content (spec, clause 4.3).
    """

    name: str
    size: int | None
    digest: str


def source_of(adapter: Adapter, name: str, file: Path | None) -> Source:
    """Returns where an adapter comes from.

    Args:
        adapter: The adapter.
        name: What to call it.
        file: The .fft or .fft.h5 that holds it; None for one that is made of other things.

    Raises:
        FileAccessError: The file cannot be read.
    """
    if file is None:
        return Source(name, None, to_document(adapter).digest())
    document = read_document(file)
    return Source(name, file.stat().st_size, document.digest())


def title(adapter: Adapter) -> str:
    """Returns what kind of adapter it is, as in "FourierFT adapter"."""
    method = {"dft2": "FourierFT", "dwt2": "WaveFT"}.get(adapter.transform.partition(":")[0])
    return f"{method or 'Spectral'} adapter"


def facts(adapter: Adapter, source: Source) -> Iterator[tuple[str, str]]:
    """Yields names and values of what an adapter says of itself."""
    yield "source", source.name
    yield "transform", adapter.transform
    for key, value in (adapter.base_model or {}).items():
        yield f"base model: {key}", str(value)
    yield "alpha", _alpha(adapter)
    yield "seed", "none" if adapter.seed is None else str(adapter.seed)
    yield "coefficients", f"{sum(s.coefficients.size for s in adapter.entry_sets):,}"
    yield f"LoRA of rank {LORA_RANK} on the same targets", f"{_lora(adapter):,} parameters"
    kinds = Counter(target.kind for target in adapter.targets)
    yield "targets", ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
    if adapter.target_modules is not None:
        yield "target modules", _asked(adapter.target_modules)
    yield "fingerprints", _fingerprints(adapter)
    yield "file", "none of its own" if source.size is None else f"{source.size:,} bytes"
    yield "SHA-256 of the content", source.digest
    yield "format", adapter.version
    for key, value in (adapter.producer or {}).items():
        yield f"producer: {key}", str(value)
    if adapter.origin is not None:
        yield "origin", str(adapter.origin.get("format"))
    if adapter.extensions:
        yield "extensions", ", ".join(adapter.extensions)


def limited(text: str) -> str:
    """Returns a text, which is cut where it is too long; then its length is said."""
    if len(text) <= LONGEST:
        return text
    return f"{words.shortened(text, LONGEST)} ({len(text):,} characters)"


def recipes(adapter: Adapter) -> Iterator[tuple[str, ...]]:
    """Yields one row for each entry set: id, shape, targets, n, part of the spectrum, dtype, ..."""
    for entry_set in adapter.entry_sets:
        count, rows = entry_set.count, entry_set.coefficients.shape[0]
        share = count / (entry_set.shape[0] * entry_set.shape[1])
        yield (
            entry_set.id,
            words.shape(entry_set.shape),
            f"{rows:,}",
            f"{count:,}",
            percent(share),
            words.array(entry_set.coefficients).split(" ", 1)[0],
            words.recipe(entry_set, adapter.seed),
        )


def _asked(modules: str | Sequence[str]) -> str:
    if isinstance(modules, str):
        return modules
    which = f"the first {_NAMES} of {len(modules):,}: " if len(modules) > _NAMES else ""
    return which + ", ".join(modules[:_NAMES])


def _alpha(adapter: Adapter) -> str:
    own = sum(adapter.alpha_of(target) != adapter.alpha for target in adapter.targets)
    more = f" ({own:,} of the targets have another)" if own else ""
    return words.number(adapter.alpha) + more


def _lora(adapter: Adapter) -> int:
    return sum(LORA_RANK * sum(target.shape) for target in adapter.targets)


def _fingerprints(adapter: Adapter) -> str:
    sets = [s for s in adapter.entry_sets if s.fingerprints is not None]
    count = sum(s.coefficients.shape[0] for s in sets)
    return f"of {count:,} base weights" if count else "none"
