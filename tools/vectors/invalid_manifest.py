"""Files whose container is sound and whose manifest or tensors break a rule: clauses 3, 5, 6, 8."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from vectors.container import Tensor, compact, fft, tensor
from vectors.manifest_edits import EDITS
from vectors.model import Vector
from vectors.samples import (
    Json,
    Path,
    edited,
    full,
    minimal,
    spliced,
    tensors,
    without,
)

_ENTRIES: Final = "entries/4x6"
_COEFFICIENTS: Final = "coefficients/4x6"
_TARGET: Final[Path] = ("targets", 0)
_SET: Final[Path] = ("entries", 0)


def vectors() -> Iterator[Vector]:
    """Yields the vectors of broken manifests and tensors."""
    yield from _json()
    yield from _fields()
    yield from _unknown()
    yield from _pairing()
    yield from _tensors()
    yield from _numbers()


def _vector(
    id_: str,
    code: str | tuple[str, ...],
    clause: str,
    about: str,
    manifest: str | Json,
    arrays: Mapping[str, Tensor] | None = None,
) -> Vector:
    text = manifest if isinstance(manifest, str) else compact(manifest)
    return Vector(
        id=id_,
        kind="invalid",
        clause=clause,
        about=about,
        files={".fft": fft(text, tensors() if arrays is None else arrays)},
        codes=(code,) if isinstance(code, str) else code,
    )


_GOOD: Final = compact(minimal())
_DEEP: Final = '{"a":' * 32 + "1" + "}" * 32
_LISTS: Final = "[" * 32 + "]" * 32
_TEXTS: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("json-empty", "SYNTAX", "no manifest", ""),
    ("json-unclosed", "SYNTAX", "a brace is missing", _GOOD[:-1]),
    ("json-trailing-comma", "SYNTAX", "a comma before the brace", _GOOD[:-1] + ",}"),
    ("json-trailing-text", "SYNTAX", "two texts", _GOOD + "{}"),
    ("json-comment", "SYNTAX", "a comment", _GOOD + "// end"),
    ("json-single-quotes", "SYNTAX", "single quotes", _GOOD.replace('"', "'")),
    ("json-byte-order-mark", "SYNTAX", "a byte order mark", "\ufeff" + _GOOD),
    ("json-leading-zero", "SYNTAX", "02.5", spliced(("alpha",), "02.5")),
    ("json-bare-point", "SYNTAX", "2.", spliced(("alpha",), "2.")),
    ("json-plus", "SYNTAX", "+2.5", spliced(("alpha",), "+2.5")),
    ("json-hex", "SYNTAX", "0x10", spliced(("alpha",), "0x10")),
    ("json-raw-tab", "SYNTAX", "a tab inside text", _GOOD.replace("query", "que\try")),
    ("json-bad-escape", "SYNTAX", "an escape that is none", _GOOD.replace("query", "\\q")),
    ("json-form-feed", "SYNTAX", "white space that is none", _GOOD + "\f"),
    ("json-no-colon", "SYNTAX", "no colon", _GOOD.replace('"alpha":', '"alpha" ')),
    ("json-no-comma", "SYNTAX", "no comma", _GOOD.replace(',"alpha"', ' "alpha"')),
    ("json-bare-member", "SYNTAX", "a name without quotes", _GOOD.replace('"alpha"', "alpha")),
    ("json-open-text", "SYNTAX", "a text without its end", _GOOD[: _GOOD.index("query")]),
    ("json-open-escape", "SYNTAX", "a text that ends in a backslash", _GOOD[:-4] + '"\\'),
    ("json-bare-exponent", "SYNTAX", "2.5e", spliced(("alpha",), "2.5e")),
    ("json-word-case", "SYNTAX", "True", spliced(("metadata",), '{"a":True}')),
    ("json-nan", "NUMBER", "NaN", spliced(("alpha",), "NaN")),
    ("json-infinity", "NUMBER", "Infinity", spliced(("alpha",), "Infinity")),
    ("json-minus-infinity", "NUMBER", "-Infinity", spliced(("alpha",), "-Infinity")),
    ("json-1e999", "NUMBER", "more than float64 holds", spliced(("alpha",), "1e999")),
    ("json-minus-1e999", "NUMBER", "the same, negative", spliced(("metadata",), "[-1e999]")),
    ("json-2-53", "NUMBER", "2^53", spliced(("seed",), "9007199254740992")),
    ("json-minus-2-53", "NUMBER", "-2^53", spliced(("alpha",), "-9007199254740992")),
    ("json-400-digits", "NUMBER", "400 digits", spliced(("alpha",), "1" * 400)),
    ("json-duplicate", "DUPLICATE-KEY", "alpha twice", _GOOD[:-1] + ',"alpha":2.5}'),
    (
        "json-duplicate-escaped",
        "DUPLICATE-KEY",
        "alpha twice, once with an escape",
        _GOOD[:-1] + ',"\\u0061lpha":2.5}',
    ),
    (
        "json-duplicate-deep",
        "DUPLICATE-KEY",
        "twice, four levels down",
        spliced(("metadata",), '{"a":[{"b":{"c":1,"c":1}}]}'),
    ),
    ("json-depth-33", "DEPTH", "33 objects", spliced(("metadata",), _DEEP)),
    ("json-depth-33-lists", "DEPTH", "33 levels by lists", spliced(("metadata",), _LISTS)),
    ("json-surrogate-high", "SURROGATE", "a high half", spliced(("labels",), '["\\ud83d"]')),
    ("json-surrogate-low", "SURROGATE", "a low half", spliced(("labels",), '["\\uDE00"]')),
    (
        "json-surrogates-swapped",
        "SURROGATE",
        "both halves, the low one first",
        spliced(("labels",), '["\\ude00\\ud83d"]'),
    ),
    (
        "json-surrogate-in-key",
        "SURROGATE",
        "half a pair in a member's name",
        spliced(("metadata",), '{"\\ud83d":1}'),
    ),
)
"""Id, code without "E-JSON-", what is wrong, the manifest."""


def _json() -> Iterator[Vector]:
    for id_, code, about, text in _TEXTS:
        yield _vector(id_, f"E-JSON-{code}", "5.1", about, text)
    yield _vector("manifest-list", "E-FIELD-TYPE", "5.2", "a list for a manifest", f"[{_GOOD}]")
    yield _vector("manifest-null", "E-FIELD-TYPE", "5.2", "null for a manifest", "null")


_TRANSFORMS: Final = (
    ("dst2", "dst2", "not registered"),
    ("case", "DFT2", "upper case"),
    ("dct2-case", "DCT2", "upper case"),
    ("dft2-line-feed", "dft2\n", "a line feed at the end"),
    ("dct2-wavelet", "dct2:db1", "a wavelet where there is none"),
    ("dwt2", "dwt2", "no wavelet"),
    ("dwt2-empty", "dwt2:", "an empty wavelet"),
    ("dwt2-nope", "dwt2:nope", "a wavelet that is not registered"),
    ("dwt2-case", "dwt2:DB1", "a wavelet in upper case"),
    ("dwt2-space", "dwt2: db1", "a space before the wavelet"),
    ("dwt2-zero", "dwt2:db01", "a leading zero"),
    ("dwt2-haar", "dwt2:haar", "another name of db1, not registered"),
    ("dwt2-coif4", "dwt2:coif4", "registered as coif4-peft alone"),
    ("dwt2-proto", "dwt2:__proto__", "a wavelet that JavaScript treats specially"),
)
"""Id, transform, what is wrong."""


def _fields() -> Iterator[Vector]:
    for id_, code, about, path, value in EDITS:
        manifest = edited(minimal(), path, value)
        yield _vector(f"field-{id_}", f"E-FIELD-{code}", "5.2", about, manifest)
    kind: Path = (*_TARGET, "kind")
    rows: tuple[tuple[str, str, str, str, Path, Any], ...] = (
        ("format-other", "E-NOT-FOURIER-FORMAT", "5.2", "another format", ("format",), "gguf"),
        ("format-number", "E-NOT-FOURIER-FORMAT", "5.2", "format is no text", ("format",), 1),
        ("format-null", "E-NOT-FOURIER-FORMAT", "5.2", "format is null", ("format",), None),
        ("version-2-0", "E-VERSION", "6.1", "a later major version", ("version",), "2.0"),
        ("version-0-9", "E-VERSION", "6.1", "an earlier major version", ("version",), "0.9"),
        ("version-2-long", "E-VERSION", "6.1", "a long minor", ("version",), "2.1000000000"),
        ("version-long", "E-VERSION", "6.1", "a long major", ("version",), "12345678901.0"),
        ("kind-conv3d", "E-KIND-UNKNOWN", "3.3", "not registered", kind, "conv3d"),
        ("kind-case", "E-KIND-UNKNOWN", "3.3", "upper case", kind, "Linear"),
    )
    for id_, name, about in _TRANSFORMS:
        manifest = edited(minimal(), ("transform",), name)
        yield _vector(f"transform-{id_}", "E-TRANSFORM-UNKNOWN", "3.2", about, manifest)
    for id_, code, clause, about, path, value in rows:
        yield _vector(id_, code, clause, about, edited(minimal(), path, value))


def _unknown() -> Iterator[Vector]:
    manifest, arrays = full()
    places: dict[str, Path] = {
        "manifest": (),
        "entry-set": _SET,
        "sampling": (*_SET, "sampling"),
        "fingerprints": (*_SET, "fingerprints"),
        "target": _TARGET,
        "base-model": ("base_model",),
        "producer": ("producer",),
        "origin": ("origin",),
    }
    for level, path in places.items():
        spoilt = edited(manifest, (*path, "Alpha"), 1.0)
        about = f"an unknown field: {level}"
        yield _vector(f"unknown-{level}", "E-FIELD-UNKNOWN", "6.2", about, spoilt, arrays)


_WITHOUT_ITS_SET: Final = (
    "E-TARGET-ENTRIES",
    "E-TARGET-ROW",
    "E-TENSOR-MISSING",
    "E-TENSOR-UNDECLARED",
)


def _pairing() -> Iterator[Vector]:
    base, target = minimal(), minimal()["targets"][0]
    two = edited(base, ("targets",), [target, target | {"name": "encoder.key", "row": 1}])
    rows = tensor("F32", (2, 3), (0.5, -1.0, 2.0, 1.0, 2.0, 3.0))
    arrays = tensors() | {_COEFFICIENTS: rows}
    for id_, code, about, path, value in (
        ("row-gap", "ROW", "rows 0 and 2", ("targets", 1, "row"), 2),
        ("row-twice", "ROW", "rows 0 and 0", ("targets", 1, "row"), 0),
        ("rows-from-one", "ROW", "rows 2 and 1", ("targets", 0, "row"), 2),
        ("row-largest", "ROW", "the largest row", ("targets", 1, "row"), 2**31 - 1),
        ("target-twice", "DUPLICATE", "one name twice", ("targets", 1, "name"), "encoder.query"),
        ("target-other-shape", "SHAPE", "not its set's shape", ("targets", 1, "shape"), [6, 4]),
    ):
        manifest = edited(two, path, value)
        yield _vector(id_, f"E-TARGET-{code}", "5.3", about, manifest, arrays)
    lost = edited(two, ("targets", 1, "entries"), "6x4")
    about = "a target of a set that is not there"
    yield _vector("target-without-set", "E-TARGET-ENTRIES", "5.3", about, lost)
    renamed = edited(base, (*_SET, "id"), "4x7")
    about = "a set under another id than its target and its tensors have"
    yield _vector("set-renamed", _WITHOUT_ITS_SET, "5.3", about, renamed)
    twice = edited(base, ("entries",), [base["entries"][0]] * 2)
    yield _vector("set-twice", "E-ENTRIES-DUPLICATE", "5.3", "one id twice", twice)
    unused = edited(base, ("entries",), [*base["entries"], base["entries"][0] | {"id": "b"}])
    more = tensors() | {"entries/b": tensors()[_ENTRIES], "coefficients/b": rows}
    codes = ("E-TARGET-ROW", "E-TENSOR-SHAPE")
    yield _vector("set-unused", codes, "5.3", "a set without targets", unused, more)
    repeated = edited(base, ("replacements",), ["bias", "bias"])
    bias = tensors() | {"replacements/bias": tensor("F32", (1,), (1.0,))}
    about = "one replacement twice"
    code = "E-REPLACEMENT-DUPLICATE"
    yield _vector("replacement-twice", code, "5.3", about, repeated, bias)


def _tensors() -> Iterator[Vector]:
    base, good = minimal(), tensors()
    manifest, arrays = full()
    norm, samples = "fingerprints/4x6/norm", "fingerprints/4x6/samples"
    extension = {"must_understand": False}
    byte = tensor("U8", (1,), (1,))
    known = edited(base, ("metadata",), extension)
    inner = edited(base, (*_TARGET, "x-notes"), extension)
    outer = edited(base, ("x-notes",), extension)
    rows: tuple[tuple[str, str, str, Json, Mapping[str, Tensor]], ...] = (
        ("entries", "MISSING", "no entries", base, without(good, _ENTRIES)),
        ("coefficients", "MISSING", "no coefficients", base, without(good, _COEFFICIENTS)),
        ("norm", "MISSING", "no norms", manifest, without(arrays, norm)),
        ("head", "MISSING", "no replacement", manifest, without(arrays, "replacements/scale")),
        ("extra", "UNDECLARED", "nothing declares it", base, good | {"notes": byte}),
        ("spare", "UNDECLARED", "not listed", base, good | {"replacements/bias": byte}),
        ("no-field", "UNDECLARED", "no such extension", base, good | {"extensions/x/a": byte}),
        ("known", "UNDECLARED", "no extension", known, good | {"extensions/metadata/a": byte}),
        ("inner", "UNDECLARED", "not at the top", inner, good | {"extensions/x-notes/a": byte}),
        ("bare", "UNDECLARED", "no name", outer, good | {"extensions/x-notes": byte}),
        ("line", "UNDECLARED", "a line feed", outer, good | {"extensions/x-notes/a\n": byte}),
        ("wide", "DTYPE", "64-bit entries", base, good | {_ENTRIES: _entries("I64")}),
        ("float", "DTYPE", "float entries", base, good | {_ENTRIES: _entries("F32")}),
        ("double", "DTYPE", "float64 coefficients", base, tensors("F64")),
        ("whole", "DTYPE", "integer coefficients", base, tensors("I32", (1, 2, 3))),
        ("samples", "DTYPE", "half samples", manifest, arrays | {samples: _samples("F16", 32)}),
        ("count", "SHAPE", "count is 2", edited(base, (*_SET, "count"), 2), good),
        ("most", "SHAPE", "the largest count", edited(base, (*_SET, "count"), 2**31 - 1), good),
        ("flat", "SHAPE", "one axis", base, good | {_ENTRIES: tensor("I32", (6,), range(6))}),
        ("columns", "SHAPE", "(n, 1)", base, good | {_ENTRIES: tensor("I32", (3, 1), range(3))}),
        ("turned", "SHAPE", "(n, L)", base, good | {_COEFFICIENTS: _turned()}),
        ("31", "SHAPE", "31 samples", manifest, arrays | {samples: _samples("F32", 31)}),
    )
    for id_, code, about, fields, content in rows:
        name = f"tensor-{code.lower()}-{id_}"
        yield _vector(name, f"E-TENSOR-{code}", "5.4", about, fields, content)


def _entries(dtype: str, values: tuple[int, ...] = (1, 2, 0, 5, 3, 0)) -> Tensor:
    return tensor(dtype, (3, 2), values)


def _samples(dtype: str, count: int) -> Tensor:
    return tensor(dtype, (2, count), [k / 8 for k in range(2 * count)])


def _turned() -> Tensor:
    return tensor("F32", (3, 1), (0.5, -1.0, 2.0))


def _numbers() -> Iterator[Vector]:
    base = minimal()
    for id_, code, about, values in (
        ("entry-u-out", "RANGE", "u = out", (4, 0, 1, 1, 2, 2)),
        ("entry-v-in", "RANGE", "v = in", (0, 0, 1, 1, 2, 6)),
        ("entry-swapped", "RANGE", "u and v exchanged", (5, 0, 1, 1, 2, 2)),
        ("entry-negative", "RANGE", "a negative u", (0, 0, -1, 1, 2, 2)),
        ("entry-least", "RANGE", "the least int32", (0, 0, 1, -(2**31), 2, 2)),
        ("entry-twice", "DUPLICATE", "the first and the last are equal", (1, 2, 0, 5, 1, 2)),
    ):
        arrays = tensors() | {_ENTRIES: _entries("I32", values)}
        yield _vector(id_, f"E-ENTRY-{code}", "3.1", about, base, arrays)
    manifest, arrays = full()
    head, norm = "replacements/head/bias", "fingerprints/4x6/norm"
    samples = tensor("F32", (2, 32), [0.0] * 63 + [math.nan])
    rows: tuple[tuple[str, str, Json, Mapping[str, Tensor]], ...] = (
        ("nan-float32", "NaN", base, tensors("F32", (0.0, math.nan, 0.0))),
        ("infinity-float16", "infinity", base, tensors("F16", (0.0, math.inf, 0.0))),
        ("infinity-bfloat16", "-infinity", base, tensors("BF16", (0.0, 0.0, -math.inf))),
        ("nan-bfloat16", "NaN", base, tensors("BF16", (0.0, 0.0, math.nan))),
        (
            "nan-replacement",
            "NaN in a replacement",
            manifest,
            arrays | {head: tensor("F32", (2,), (math.nan, 0.0))},
        ),
        (
            "infinity-norm",
            "an infinite norm",
            manifest,
            arrays | {norm: tensor("F64", (2,), (math.inf, 0.0))},
        ),
        ("nan-sample", "NaN in a sample", manifest, arrays | {"fingerprints/4x6/samples": samples}),
    )
    for id_, about, fields, content in rows:
        yield _vector(id_, "E-NUMBER-NONFINITE", "3.1", about, fields, content)
    negative = arrays | {norm: tensor("F64", (2,), (1.0, -1.0))}
    yield _vector("negative-norm", "E-FIELD-VALUE", "5.4", "a negative norm", manifest, negative)
