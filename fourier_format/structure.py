"""The manifest's structure: which fields, of which JSON types (spec, clause 5.2).

This accepts exactly what schema/manifest-1.0.schema.json accepts, in a fraction of the time
(a property test and every vector hold the two together). What a field means is in `meaning`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final

from fourier_format import limits
from fourier_format.adapter import KINDS, TRANSFORMS
from fourier_format.errors import Violation

Check = Callable[[Any, str, list[Violation]], None]

FORMAT: Final = "fourier-format"
VERSION_PATTERN: Final = r"^1\.(0|[1-9][0-9]{0,8})(?![\s\S])"
SEED_PATTERN: Final = r"^(0|[1-9][0-9]{0,19})(?![\s\S])"
ID_PATTERN: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(?![\s\S])"
NAME_PATTERN: Final = rf"^[^\u0000-\u001f\u007f-\u009f]{{1,{limits.MAX_NAME_LENGTH}}}(?![\s\S])"
"""The patterns end in a look-ahead because "$" also matches before a final line feed."""


def violations(manifest: Any) -> list[Violation]:
    """Returns everything that is wrong with the structure of a parsed `manifest`."""
    found: list[Violation] = []
    if isinstance(manifest, dict):
        if manifest.get("format", FORMAT) != FORMAT:
            return [
                _violation("E-NOT-FOURIER-FORMAT", "format", "not this format", manifest["format"])
            ]
        version = manifest.get("version")
        if isinstance(version, str) and _is_other_major(version):
            advice = "update fourier-format"
            return [Violation("E-VERSION", "version", "unknown", version[:40], "1.x", advice)]
    MANIFEST(manifest, "", found)
    return found


def is_extension(value: Any) -> bool:
    """Whether an unknown field may be ignored (spec, clause 6.2)."""
    return isinstance(value, dict) and value.get("must_understand") is False


def is_integer(value: Any) -> bool:
    """Whether `value` is a JSON integer: 1 and 1.0 are, True is not."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _is_other_major(version: str) -> bool:
    match = re.match(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(?![\s\S])", version)
    return match is not None and match.group(1) != "1"


def _violation(
    code: str, where: str, problem: str, got: Any, expected: str | None = None
) -> Violation:
    text = repr(got)
    return Violation(code, where, problem, text if len(text) <= 60 else text[:57] + "...", expected)


def _text(pattern: str, expected: str) -> Check:
    compiled = re.compile(pattern)

    def check(value: Any, where: str, found: list[Violation]) -> None:
        if not isinstance(value, str):
            found.append(_violation("E-FIELD-TYPE", where, "not text", value, "a string"))
        elif not compiled.search(value):
            found.append(_violation("E-FIELD-VALUE", where, "not allowed", value, expected))

    return check


def _one_of(known: tuple[str, ...], code: str, expected: str | None = None) -> Check:
    expected = expected or "one of " + ", ".join(known)

    def check(value: Any, where: str, found: list[Violation]) -> None:
        if not isinstance(value, str):
            found.append(_violation("E-FIELD-TYPE", where, "not text", value, "a string"))
        elif value not in known:
            found.append(_violation(code, where, "unknown", value, expected))

    return check


def _integer(low: int, high: int) -> Check:
    def check(value: Any, where: str, found: list[Violation]) -> None:
        if not is_integer(value):
            found.append(_violation("E-FIELD-TYPE", where, "not an integer", value))
        elif not low <= value <= high:
            expected = f"{low} to {high}"
            found.append(_violation("E-FIELD-VALUE", where, "out of range", value, expected))

    return check


def _number(value: Any, where: str, found: list[Violation]) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        found.append(_violation("E-FIELD-TYPE", where, "not a number", value))


def _free(value: Any, where: str, found: list[Violation]) -> None:
    if not isinstance(value, dict):
        found.append(_violation("E-FIELD-TYPE", where, "not an object", value))


def _seed(value: Any, where: str, found: list[Violation]) -> None:
    check = _SEED_TEXT if isinstance(value, str) else _SEED_INTEGER
    check(value, where, found)


def _list(item: Check, low: int, high: int) -> Check:
    def check(value: Any, where: str, found: list[Violation]) -> None:
        if not isinstance(value, list):
            found.append(_violation("E-FIELD-TYPE", where, "not a list", value))
        elif not low <= len(value) <= high:
            expected = f"{low} to {high}" if low != high else str(low)
            found.append(
                Violation("E-FIELD-VALUE", where, "wrong length", str(len(value)), expected)
            )
        else:
            for index, element in enumerate(value):
                if len(found) >= limits.MAX_VIOLATIONS:
                    break
                item(element, f"{where}[{index}]", found)

    return check


def _text_or_list(value: Any, where: str, found: list[Violation]) -> None:
    (_TEXT_LIST if isinstance(value, list) else _TEXT)(value, where, found)


def _map_of_numbers(value: Any, where: str, found: list[Violation]) -> None:
    _free(value, where, found)
    if isinstance(value, dict):
        for key, number in value.items():
            if len(found) >= limits.MAX_VIOLATIONS:
                break
            _number(number, f"{where}.{key}", found)


class Record:
    """The check of an object; unknown fields need `must_understand: false` (spec, clause 6.2)."""

    def __init__(self, required: dict[str, Check], optional: dict[str, Check]) -> None:
        """Takes the checks of the fields that must and that may be there."""
        self._required = tuple(required)
        self._checks = required | optional
        self.fields: Final = frozenset(self._checks)
        """The names of the known fields."""

    def __call__(self, value: Any, where: str, found: list[Violation]) -> None:
        """Append what is wrong with `value` to `found`."""
        if not isinstance(value, dict):
            found.append(_violation("E-FIELD-TYPE", where or "manifest", "not an object", value))
            return
        prefix = f"{where}." if where else ""
        missing = [key for key in self._required if key not in value]
        found += [Violation("E-FIELD-MISSING", f"{prefix}{key}", "missing") for key in missing]
        for key, element in value.items():
            if len(found) >= limits.MAX_VIOLATIONS:
                break
            place = f"{prefix}{key}"
            if key in self._checks:
                self._checks[key](element, place, found)
            elif not is_extension(element):
                advice = "it needs a newer reader, or it is a spelling mistake"
                found.append(Violation("E-FIELD-UNKNOWN", place, "unknown field", advice=advice))


_TEXT: Final = _text(r"^[\s\S]*", "text")
_TEXT_LIST: Final = _list(_TEXT, 0, limits.MAX_TARGETS)
_ID: Final = _text(ID_PATTERN, "1 to 64 of A-Z a-z 0-9 _ . -, first no . or -")
_NAME: Final = _text(NAME_PATTERN, "1 to 1024 characters, none a control character")
_WORD: Final = _text(ID_PATTERN, "1 to 64 of A-Z a-z 0-9 _ . -, first no . or -")
_SEED_TEXT: Final = _text(SEED_PATTERN, "decimal digits")
_SEED_INTEGER: Final = _integer(0, limits.MAX_SAFE_INTEGER)
_SHAPE: Final = _list(_integer(1, limits.MAX_DIMENSION), 2, 2)

_TRANSFORMS: Final = "dft2, dct2, dht2 or dwt2:<a registered wavelet, such as db1>"

SAMPLING: Final = Record(
    {"method": _WORD},
    {"generator": _WORD, "seed": _seed, "parameters": _map_of_numbers},
)
FINGERPRINTS: Final = Record({"dtype": _one_of(("F32", "F16", "BF16", "F64"), "E-FIELD-VALUE")}, {})
ENTRY_SET: Final = Record(
    {"id": _ID, "shape": _SHAPE, "count": _integer(1, limits.MAX_DIMENSION)},
    {"sampling": SAMPLING, "fingerprints": FINGERPRINTS},
)
TARGET: Final = Record(
    {
        "name": _NAME,
        "kind": _one_of(KINDS, "E-KIND-UNKNOWN"),
        "shape": _SHAPE,
        "entries": _ID,
        "row": _integer(0, limits.MAX_DIMENSION),
    },
    {"alpha": _number},
)
MANIFEST: Final = Record(
    {
        "format": _one_of((FORMAT,), "E-NOT-FOURIER-FORMAT"),
        "version": _text(VERSION_PATTERN, "1.MINOR"),
        "transform": _one_of(TRANSFORMS, "E-TRANSFORM-UNKNOWN", _TRANSFORMS),
        "alpha": _number,
        "entries": _list(ENTRY_SET, 1, limits.MAX_ENTRY_SETS),
        "targets": _list(TARGET, 1, limits.MAX_TARGETS),
    },
    {
        "seed": _seed,
        "target_modules": _text_or_list,
        "replacements": _list(_NAME, 0, limits.MAX_TARGETS),
        "base_model": Record({}, {"name": _TEXT, "revision": _TEXT, "model_type": _TEXT}),
        "producer": Record({"name": _TEXT}, {"version": _TEXT}),
        "labels": _TEXT_LIST,
        "origin": Record({"format": _WORD, "text": _TEXT}, {"name": _TEXT}),
        "metadata": _free,
    },
)
