"""Files that every reader reads: what the format allows, taken to its edges."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from vectors.container import CODES, Tensor, compact, digest, fft, tensor, values_of
from vectors.formulas import filters
from vectors.model import Vector, pretty
from vectors.samples import edited, full, minimal, spliced, tensors

Json = dict[str, Any]


def file_and_twin(manifest: str, arrays: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Returns a .fft and the JSON that says what a reader must find in it."""
    twin = {
        "sha256": digest(manifest, arrays),
        "manifest": json.loads(manifest),
        "tensors": {
            name: {"dtype": a.dtype, "shape": list(a.shape), "values": values_of(a)}
            for name, a in arrays.items()
        },
    }
    return {".fft": fft(manifest, arrays), ".json": pretty(twin)}


def vectors() -> Iterator[Vector]:
    """Yields the valid vectors."""
    yield from _manifests()
    yield from _transforms()
    yield from _names()
    yield from _arrays()
    yield from _whole()
    yield from _recipes()


def _vector(
    id_: str,
    clause: str,
    about: str,
    manifest: str | Json,
    arrays: Mapping[str, Tensor] | None = None,
    validator: tuple[str, ...] = (),
) -> Vector:
    text = manifest if isinstance(manifest, str) else compact(manifest)
    files = file_and_twin(text, tensors() if arrays is None else arrays)
    return Vector(
        id=id_, kind="valid", clause=clause, about=about, files=files, validator=validator
    )


_ESCAPED: Final = '"a\\/b \\u00e9 \\ud83d\\ude00 \\u0022"'
_CONTROLS: Final = {"text": '\x00\t\n\r\b\f\x1f\x7f\u2028 " \\ /'}
_NAMES: Final = ["é", "\U0001f600", "\uff5e", "z", "../up", "a b%2F"]
_EXPONENTS: Final = "[1e0,1E+00,2e05,10e-01,20E10,1.50,0e0,-0.0E-0]"
_NESTED_31: Final = '{"a":' * 30 + "[]" + "}" * 30


def _manifests() -> Iterator[Vector]:
    base = minimal()
    yield _vector("minimal", "5.2", "only what is required", base)
    spaced = "\n" + json.dumps(base, indent=1).replace("\n", " \t\r\n") + " "
    yield _vector("white-space", "5.1", "white space between the manifest's tokens", spaced)
    reverse = dict(reversed(base.items()))
    yield _vector("field-order", "5.1", "the order of fields is free", reverse)
    escaped = spliced(("metadata",), f'{{"note":{_ESCAPED}}}')
    yield _vector("needless-escapes", "5.1", "escapes inside the manifest are free", escaped)
    yield _vector(
        "control-characters",
        "4.2",
        "control characters in text, escaped twice: in the manifest and in the header",
        edited(base, ("metadata",), _CONTROLS),
    )
    nested = edited(base, ("metadata",), json.loads(_NESTED_31))
    yield _vector("depth-32", "5.1", "nested as deep as is allowed", nested)
    brackets = edited(base, ("metadata",), {"text": "[" * 40 + '\\"' + "{" * 40})
    yield _vector("brackets-in-text", "5.1", "brackets inside text are no nesting", brackets)
    floats = spliced(("entries", 0, "shape"), "[4.0,0.6e1]").replace('"count":3', '"count":3.0')
    floats = floats.replace('"row":0', '"row":-0.0')
    yield _vector("integers-as-floats", "5.1", "3.0 is an integer, and -0.0 is 0", floats)
    exponents = spliced(("metadata",), f'{{"numbers":{_EXPONENTS}}}').replace(":2.5,", ":0.25E01,")
    yield _vector("exponents", "5.1", "exponents in each spelling", exponents)
    yield _vector("seed-as-text", "5.2", "a small seed as text", edited(base, ("seed",), "777"))
    yield _vector("seed-zero", "5.2", "the smallest seed", edited(base, ("seed",), 0))
    yield _vector("seed-zero-as-text", "5.2", "the same as text", edited(base, ("seed",), "0"))
    largest = spliced(("seed",), "9007199254740991")
    yield _vector("seed-2-53", "5.1", "the largest integer that is no text", largest)
    odd = edited(base, ("metadata",), {"__proto__": {"x": 1}, "constructor": 2, "1": 3, "0": 4})
    yield _vector("member-names", "5.1", "member names that some languages treat specially", odd)
    tiny = spliced(("alpha",), "-4.9406564584124654e-324")
    yield _vector("alpha-subnormal", "5.1", "the smallest number, negative", tiny)
    yield _vector("alpha-zero", "3.1", "a scale of zero", edited(base, ("alpha",), 0))
    underflow = spliced(("alpha",), "1e-999")
    yield _vector("number-underflow", "5.1", "the nearest float64 to 1e-999 is 0", underflow)


def _transforms() -> Iterator[Vector]:
    for name in ("dct2", "dht2", *(f"dwt2:{wavelet}" for wavelet in filters())):
        manifest = edited(minimal(), ("transform",), name)
        yield _vector(f"transform-{name.replace(':', '-')}", "3.2", "a registered name", manifest)


def _names() -> Iterator[Vector]:
    base = minimal()
    empty = base | {"replacements": [], "labels": [], "target_modules": [], "base_model": {}}
    yield _vector("empty-lists", "5.2", "optional lists and objects may be empty", empty)
    name = "n" * 1024
    long = edited(base, ("targets", 0, "name"), name)
    yield _vector("name-1024", "5.2", "a name of 1024 code points", long)
    wide = edited(base, ("targets", 0, "name"), "\U0001f600" * 513)
    yield _vector("name-by-code-points", "5.2", "513 code points that are 1026 UTF-16 units", wide)
    regex = edited(base, ("target_modules",), r".*\.(query|value)$")
    yield _vector("target-modules-regex", "5.2", "target_modules as one text", regex)


def _arrays() -> Iterator[Vector]:
    base = minimal()
    half = tensors("F16", (65504.0, -(2.0**-24), -0.0))
    yield _vector("float16", "3.1", "F16: largest, smallest and negative zero", base, half)
    brain = tensors("BF16", (3.3895313892515355e38, -9.183549615799121e-41, 0.10009765625))
    yield _vector("bfloat16", "3.1", "BF16: largest, smallest, ordinary", base, brain)
    single = tensors("F32", (3.4028234663852886e38, 1.401298464324817e-45, -0.0))
    yield _vector("float32", "3.1", "F32: largest, smallest and negative zero", base, single)
    mirrored = tensors() | {"entries/4x6": tensor("I32", (3, 2), (1, 2, 3, 4, 2, 3))}
    yield _vector("mirrored-entries", "3.1", "a mirrored pair, and its own mirror", base, mirrored)
    one = edited(base, ("entries", 0), {"id": "_", "shape": [1, 1], "count": 1})
    one = edited(one, ("targets", 0, "shape"), [1, 1])
    one = edited(one, ("targets", 0, "entries"), "_")
    single_entry = {
        "entries/_": tensor("I32", (1, 2), (0, 0)),
        "coefficients/_": tensor("F32", (1, 1), (1.0,)),
    }
    yield _vector("one-by-one", "3.1", "the smallest shape", one, single_entry)
    edge = 2**31 - 1
    wide = edited(base, ("entries", 0, "shape"), [edge, edge])
    wide = edited(wide, ("targets", 0, "shape"), [edge, edge])
    corners = tensor("I32", (3, 2), (edge - 1, edge - 1, 0, edge - 1, edge - 1, 0))
    wide_arrays = tensors() | {"entries/4x6": corners}
    yield _vector("largest-shape", "5.2", "the largest shape, its corners", wide, wide_arrays)
    id_ = "Z_." + "-" * 61
    long = json.loads(compact(base).replace("4x6", id_))
    longest = {name.replace("4x6", id_): array for name, array in tensors().items()}
    yield _vector("id-64", "5.2", "an id of 64 characters", long, longest)
    proto = json.loads(compact(base).replace('"4x6"', '"__proto__"'))
    special = {name.replace("4x6", "__proto__"): array for name, array in tensors().items()}
    yield _vector(
        "set-called-proto", "5.2", "an id that JavaScript treats specially", proto, special
    )


def _whole() -> Iterator[Vector]:
    base = minimal()
    manifest, arrays = full()
    yield _vector(
        "every-field", "5.2", "every field, two sets, rows out of order", manifest, arrays
    )
    widths = {dtype: k for k, dtype in enumerate(CODES)}
    replaced = {
        f"replacements/{dtype.lower()}": tensor(dtype, (1, 2), (0, 1)) for dtype in reversed(CODES)
    }
    names = [dtype.lower() for dtype in sorted(widths, reverse=True)]
    every = edited(base, ("replacements",), names)
    yield _vector("every-dtype", "4.2", "wide elements before narrow", every, tensors() | replaced)
    wide = {
        "replacements/u": tensor("U64", (1,), (2**64 - 1,)),
        "replacements/i": tensor("I64", (), (-(2**63),)),
    }
    scalars = edited(base, ("replacements",), ["u", "i"])
    yield _vector("64-bit-integers", "4.1", "extreme integers; a scalar", scalars, tensors() | wide)
    ranks = tensors() | {"replacements/u": tensor("U8", (1, 1, 2, 1, 1, 3, 1, 1), range(6))}
    eight = edited(base, ("replacements",), ["u"])
    yield _vector("rank-8", "8", "as many dimensions as are allowed", eight, ranks)
    truths = tensors() | {"replacements/u": Tensor("BOOL", (4,), b"\x00\x01\x02\xff")}
    yield _vector("bool-bytes", "4.1", "bytes of BOOL above 1, which are kept", eight, truths)
    named = {f"replacements/{name}": tensor("U8", (1,), (k,)) for k, name in enumerate(_NAMES)}
    unicode = edited(base, ("replacements",), _NAMES)
    yield _vector(
        "names-by-utf-8",
        "4.2",
        "tensors are ordered by UTF-8 bytes, which is not the order of UTF-16 units",
        unicode,
        tensors() | named,
    )
    same = edited(base, ("replacements",), ["e\u0301", "\u00e9"])
    composed = {
        "replacements/e\u0301": tensor("U8", (1,), (1,)),
        "replacements/\u00e9": tensor("U8", (1,), (2,)),
    }
    yield _vector(
        "names-not-normalised", "5.3", "two spellings are two names", same, tensors() | composed
    )


def _recipes() -> Iterator[Vector]:
    """Recipes are for validators; a reader takes each of these."""
    base = minimal()
    for id_, about, recipe, codes in (
        ("recipe-unknown", "a method that nobody has registered", {"method": "x-lottery"}, ()),
        (
            "recipe-right",
            "entries that the recipe draws",
            {"method": "uniform", "generator": "splitmix64-fisher-yates", "seed": 7},
            (),
        ),
        (
            "recipe-wrong",
            "entries that the recipe does not draw",
            {"method": "uniform", "generator": "splitmix64-fisher-yates", "seed": 8},
            ("E-SAMPLING-MISMATCH",),
        ),
        (
            "recipe-without-seed",
            "a recipe that cannot be drawn",
            {"method": "torch-randperm", "generator": "mt19937-fy32"},
            ("E-SAMPLING-MISMATCH",),
        ),
        (
            "recipe-without-width",
            "a recipe that cannot be drawn",
            {
                "method": "band-pass",
                "generator": "splitmix64-rejection",
                "seed": 1,
                "parameters": {"centre": 1},
            },
            ("E-SAMPLING-MISMATCH",),
        ),
    ):
        manifest = edited(base, ("entries", 0, "sampling"), recipe)
        arrays = tensors() | {"entries/4x6": _drawn(7)}
        yield _vector(id_, "7", about, manifest, arrays, codes)
    uniform: Json = {"method": "uniform", "generator": "splitmix64-fisher-yates"}
    for id_, about, recipe, seed in (
        ("recipe-seed-of-manifest", "a recipe without a seed of its own", uniform, 7),
        ("recipe-seed-zero", "a recipe's own seed counts, also 0", uniform | {"seed": 0}, 0),
    ):
        manifest = edited(base | {"seed": 7}, ("entries", 0, "sampling"), recipe)
        arrays = tensors() | {"entries/4x6": _drawn(seed)}
        yield _vector(id_, "7", about, manifest, arrays)


def _drawn(seed: int) -> Tensor:
    from vectors.generators import uniform

    pairs = [divmod(flat, 6) for flat in uniform(24, 3, seed)]
    return tensor("I32", (3, 2), [axis for pair in pairs for axis in pair])
