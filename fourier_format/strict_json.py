"""JSON as the format allows it (spec, clause 5.1): one meaning in every language.

Python's own parser takes NaN, 1e999, duplicate keys and half surrogates, and raises
RecursionError on depth; JavaScript rounds integers above 2**53. Each is refused here.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from fourier_format.errors import InvalidAdapterError, Violation
from fourier_format.limits import MAX_JSON_DEPTH, MAX_MANIFEST_BYTES, MAX_SAFE_INTEGER

_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""The end quote is optional: an open string then costs one scan, not one from each quote in it."""
_BRACKET = re.compile(r"[\[\]{}]")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_INTEGER_DIGITS = 17  # a longer literal is above 2**53 - 1 whatever its digits


def loads(text: str, where: str, max_bytes: int = MAX_MANIFEST_BYTES) -> Any:
    """Returns the value of the JSON `text`.

    Args:
        text: The document.
        where: What the document is, for errors.
        max_bytes: The size limit in UTF-8 bytes.

    Raises:
        InvalidAdapterError: E-JSON-*; the message says where.
    """
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise _error("E-JSON-SURROGATE", where, "half of a surrogate pair") from None
    if size > max_bytes:
        raise _error("E-JSON-SIZE", where, "the JSON text is too long", size, max_bytes)
    _check_depth(text, where)
    try:
        value = json.loads(
            text,
            object_pairs_hook=lambda pairs: _object(pairs, where),
            parse_int=lambda literal: _integer(literal, where),
            parse_float=lambda literal: _float(literal, where),
            parse_constant=lambda literal: _float(literal, where),
        )
    except json.JSONDecodeError as error:
        place = f"{where}, line {error.lineno}, column {error.colno}"
        raise _error("E-JSON-SYNTAX", place, f"not JSON: {error.msg}") from None
    if _SURROGATE_ESCAPE.search(text):
        _check_surrogates(value, where)
    return value


def dumps(value: Any) -> str:
    """Returns compact JSON text: no spaces, no needless escapes, keys in their given order."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _error(
    code: str, where: str, problem: str, got: object = None, limit: object = None
) -> InvalidAdapterError:
    return InvalidAdapterError(
        Violation(
            code,
            where,
            problem,
            None if got is None else str(got),
            None if limit is None else f"at most {limit}",
        )
    )


def _check_depth(text: str, where: str) -> None:
    depth = 0
    for match in _BRACKET.finditer(_STRING.sub('""', text)):
        depth += 1 if match.group() in "[{" else -1
        if depth > MAX_JSON_DEPTH:
            raise _error("E-JSON-DEPTH", where, "nested too deep", depth, MAX_JSON_DEPTH)


def _object(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _error("E-JSON-DUPLICATE-KEY", where, f"the key {key!r} occurs twice")
            seen.add(key)
    return value


def _integer(literal: str, where: str) -> int:
    if len(literal) > _INTEGER_DIGITS or abs(int(literal)) > MAX_SAFE_INTEGER:
        raise _error("E-JSON-NUMBER", where, "an integer too large", literal[:40], "2^53 - 1")
    return int(literal)


def _float(literal: str, where: str) -> float:
    value = float(literal)
    if not math.isfinite(value):
        raise _error("E-JSON-NUMBER", where, "a number that is not finite", literal[:40])
    return value


def _check_surrogates(value: Any, where: str) -> None:
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise _error("E-JSON-SURROGATE", where, "half of a surrogate pair") from None
    elif isinstance(value, list):
        for item in value:
            _check_surrogates(item, where)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_surrogates(key, where)
            _check_surrogates(item, where)
