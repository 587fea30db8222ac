"""Where two adapters differ in meaning.

Targets are compared by name, each with its own scale, entries, coefficients, recipe and
fingerprint. How a file arranges them is no difference: the order of targets, sets and rows, the
names of sets, the order of entries when the coefficients follow it, a value stated as the default
or on each target.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fourier_format import words
from fourier_format.adapter import Adapter, Array, EntrySet, Fingerprints, Target
from fourier_format.dtypes import FLOAT_DTYPES, dtype_name
from fourier_format.errors import one_line
from fourier_format.fingerprint import NORM_TOLERANCE

ABSENT: Final = "absent"
_NOTHING: Final = object()
_FIELDS: Final = (
    "version",
    "transform",
    "target_modules",
    "base_model",
    "producer",
    "labels",
    "origin",
    "metadata",
)
"""What the whole adapter states; `alpha` and `seed` count where targets and sets use them."""
_NAMED_TARGETS: Final = 3
_LONGEST: Final = 72
_DIGEST_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference in meaning.

    Attributes:
        where: What differs: a field, a tensor, or an aspect of targets.
        a: What it is in the first adapter, in words.
        b: What it is in the second.
        detail: How far the two are apart, where that can be said.
        targets: The targets concerned, where it is an aspect of targets.
    """

    where: str
    a: str
    b: str
    detail: str | None = None
    targets: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line, as in "query, key: alpha: 150 -> 300", control characters escaped."""
        named = ", ".join(self.targets[:_NAMED_TARGETS])
        more = len(self.targets) - _NAMED_TARGETS
        named += f" and {more} more" if more > 0 else ""
        prefix = f"{named}: " if named else ""
        detail = f" ({self.detail})" if self.detail else ""
        return one_line(f"{prefix}{self.where}: {self.a} -> {self.b}{detail}")


def diff(a: Adapter, b: Adapter) -> list[Difference]:
    """Returns every difference in meaning between two valid adapters; none means the same."""
    return [
        *_fields(a, b),
        *_grouped(list(_targets(a, b))),
        *_tensors("replacements", a.replacements, b.replacements),
        *_json("extensions", a.extensions, b.extensions),
        *_tensors("tensors", a.extension_tensors, b.extension_tensors),
    ]


def _fields(a: Adapter, b: Adapter) -> Iterator[Difference]:
    for name in _FIELDS:
        values = [getattr(side, name) for side in (a, b)]
        yield from _json(name, *(_NOTHING if value is None else value for value in values))


def _targets(a: Adapter, b: Adapter) -> Iterator[Difference]:
    in_a, in_b = {t.name: t for t in a.targets}, {t.name: t for t in b.targets}
    for name, target in in_a.items():
        if name in in_b:
            for found in _target(a, target, b, in_b[name]):
                yield Difference(found.where, found.a, found.b, found.detail, (name,))
        else:
            yield Difference("target", _described(a, target), ABSENT, None, (name,))
    for name, target in in_b.items():
        if name not in in_a:
            yield Difference("target", ABSENT, _described(b, target), None, (name,))


def _target(a: Adapter, in_a: Target, b: Adapter, in_b: Target) -> Iterator[Difference]:
    set_a, set_b = a.entry_set(in_a), b.entry_set(in_b)
    yield from _value("kind", in_a.kind, in_b.kind)
    yield from _value("shape", words.shape(in_a.shape), words.shape(in_b.shape))
    yield from _value("alpha", words.number(a.alpha_of(in_a)), words.number(b.alpha_of(in_b)))
    yield from _value("n", str(set_a.count), str(set_b.count))
    if in_a.shape == in_b.shape:
        yield from _spectra(set_a, in_a.row, set_b, in_b.row)
    yield from _json("recipe", _recipe(set_a, a.seed), _recipe(set_b, b.seed))
    yield from _fingerprints(set_a, in_a.row, set_b, in_b.row)
    yield from _json("entry set's extensions", set_a.extensions, set_b.extensions)
    yield from _json("target's extensions", in_a.extensions, in_b.extensions)


def _recipe(entry_set: EntrySet, default_seed: int | None) -> Any:
    drawn = entry_set.sampling
    if drawn is None:
        return _NOTHING
    seed = default_seed if drawn.seed is None else drawn.seed
    fields: dict[str, Any] = {"method": drawn.method, "generator": drawn.generator}
    fields["seed"] = None if drawn.method == "explicit" else seed
    known = {key: value for key, value in fields.items() if value is not None}
    return {**drawn.extensions, **known, "parameters": drawn.parameters}


def _spectra(set_a: EntrySet, row_a: int, set_b: EntrySet, row_b: int) -> Iterator[Difference]:
    """The entries of one target, and the coefficients of those that both have."""
    flat_a, flat_b = _flat(set_a), _flat(set_b)
    _, at_a, at_b = np.intersect1d(flat_a, flat_b, assume_unique=True, return_indices=True)
    only_a, only_b = flat_a.size - at_a.size, flat_b.size - at_b.size
    if only_a or only_b:
        common = f"{at_a.size} in both"
        yield Difference("entries", f"{only_a} others", f"{only_b} others", common)
    whole_a, whole_b = set_a.coefficients[row_a], set_b.coefficients[row_b]
    yield from _arrays("coefficients", whole_a[at_a], whole_b[at_b])


def _fingerprints(set_a: EntrySet, row_a: int, set_b: EntrySet, row_b: int) -> Iterator[Difference]:
    a, b = set_a.fingerprints, set_b.fingerprints
    if a is None or b is None:
        yield from _value("fingerprint", *("present" if p else ABSENT for p in (a, b)))
        return
    parts = [
        part
        for part in ("samples", "sha256")
        if not np.array_equal(getattr(a, part)[row_a], getattr(b, part)[row_b])
    ]
    if not np.isclose(a.norm[row_a], b.norm[row_b], rtol=NORM_TOLERANCE, atol=0):
        parts.append("norm")
    parts += ["dtype"] if a.dtype != b.dtype else []
    if parts:
        detail = f"another {', '.join(parts)}"
        yield Difference("fingerprint", _print_words(a, row_a), _print_words(b, row_b), detail)
    yield from _json("fingerprint's extensions", a.extensions, b.extensions)


def _print_words(prints: Fingerprints, row: int) -> str:
    digest = prints.sha256[row].tobytes().hex()[:_DIGEST_DIGITS]
    return f"{prints.dtype}, norm {float(prints.norm[row]):.6g}, SHA-256 {digest}"


def _flat(entry_set: EntrySet) -> Array:
    entries = entry_set.entries.astype(np.int64)
    flat: Array = entries[:, 0] * entry_set.shape[1] + entries[:, 1]
    return flat  # (n,)


def _tensors(where: str, a: Mapping[str, Array], b: Mapping[str, Array]) -> Iterator[Difference]:
    for name in [*a, *(name for name in b if name not in a)]:
        place = f"{where}/{name}" if where == "replacements" else name
        if name in a and name in b:
            yield from _arrays(place, a[name], b[name])
        else:
            in_a, in_b = (words.array(s[name]) if name in s else ABSENT for s in (a, b))
            yield Difference(place, in_a, in_b)


def _arrays(where: str, a: Array, b: Array) -> Iterator[Difference]:
    """Dtype and shape, then values; equal values of two dtypes differ in dtype alone."""
    if a.shape != b.shape:
        yield Difference(where, words.array(a), words.array(b))
        return
    yield from _value(f"{where}, dtype", str(dtype_name(a.dtype)), str(dtype_name(b.dtype)))
    if not {dtype_name(a.dtype), dtype_name(b.dtype)}.isdisjoint(FLOAT_DTYPES):
        a, b = a.astype(np.float64), b.astype(np.float64)
    changed = (a != b) & ~(np.isnan(a) & np.isnan(b))
    how_many = f"{changed.sum()} of {a.size} differ"
    if changed.any() and a.dtype == b.dtype == np.float64:
        yield _float_difference(where, a.reshape(-1), b.reshape(-1), how_many)
    elif changed.any():
        yield Difference(where, words.array(a), words.array(b), how_many)


def _float_difference(where: str, a: Array, b: Array, how_many: str) -> Difference:
    with np.errstate(over="ignore", invalid="ignore"):
        apart, norm_a, norm_b = (float(np.linalg.norm(x)) for x in (b - a, a, b))
        detail = f"{how_many}, by at most {np.abs(b - a).max():.3g}"
    if 0 < norm_a < np.inf:
        share = apart / norm_a
        detail += f", in norm by {share:.1%}" if share >= 0.01 else f", in norm by {share:.2g}"
    return Difference(where, f"norm {norm_a:.6g}", f"norm {norm_b:.6g}", detail)


def _grouped(found: list[Difference]) -> Iterator[Difference]:
    """Says once what is the same difference of many targets; order of first occurrence."""
    groups: dict[tuple[str, str, str, str | None], list[str]] = {}
    for one in found:
        groups.setdefault((one.where, one.a, one.b, one.detail), []).extend(one.targets)
    for (where, a, b, detail), names in groups.items():
        yield Difference(where, a, b, detail, tuple(names))


def _json(where: str, a: Any, b: Any) -> Iterator[Difference]:
    """Fields of objects one by one, all else whole; the order of keys does not count."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in [*a, *(key for key in b if key not in a)]:
            yield from _json(f"{where}.{key}", a.get(key, _NOTHING), b.get(key, _NOTHING))
    elif not _same(a, b):
        yield Difference(where, *_words(a, b))


def _same(a: Any, b: Any) -> bool:
    """Whether two JSON values are one: 1 is 1.0 but not true."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _words(a: Any, b: Any) -> tuple[str, str]:
    """Returns both values in words; long ones from shortly before the place where they part."""
    texts = [_text(value) for value in (a, b)]
    parting = next((i for i, (x, y) in enumerate(zip(*texts, strict=False)) if x != y), 0)
    start = max(0, parting - _LONGEST // 3)
    return _cut(texts[0], start), _cut(texts[1], start)


def _text(value: Any) -> str:
    return ABSENT if value is _NOTHING else json.dumps(value, ensure_ascii=False, default=dict)


def _cut(text: str, start: int) -> str:
    if len(text) <= _LONGEST:
        return text
    end = start + _LONGEST
    return ("..." if start else "") + text[start:end] + ("..." if end < len(text) else "")


def _value(where: str, a: str, b: str) -> Iterator[Difference]:
    if a != b:
        yield Difference(where, a, b)


def _described(adapter: Adapter, target: Target) -> str:
    count = adapter.entry_set(target).count
    return f"{target.kind} {words.shape(target.shape)}, n = {count}"
