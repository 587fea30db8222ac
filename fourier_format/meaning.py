"""The manifest's meaning: rules that tie fields and tensors together (spec, clauses 3, 5, 9).

`structure.violations` must have found nothing before these functions are called.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from fourier_format import limits
from fourier_format.adapter import Array
from fourier_format.dtypes import COEFFICIENT_DTYPES, FLOAT_DTYPES, all_finite, dtype_name
from fourier_format.errors import Violation
from fourier_format.recent import Recent
from fourier_format.structure import ID_PATTERN, MANIFEST, NAME_PATTERN, is_extension

FINGERPRINT_SAMPLES: Final = 32
SHA256_BYTES: Final = 32


def violations(manifest: Mapping[str, Any], tensors: Mapping[str, Array]) -> list[Violation]:
    """Returns the broken rules of meaning, in the order of the manifest.

    What only follows from a rule that is reported is left out (spec, clause 10): where an id names
    no set, or two, nobody can say which rows and tensors are missing.
    """
    found = itertools.chain(of_layout(manifest, tensors), of_values(manifest, tensors))
    return list(itertools.islice(found, limits.MAX_VIOLATIONS))


def of_layout(manifest: Mapping[str, Any], tensors: Mapping[str, Array]) -> Iterator[Violation]:
    """Yields the broken rules that ask no tensor for its values, only for its dtype and shape."""
    ids = Counter(s["id"] for s in manifest["entries"])
    distinct = max(ids.values()) == 1
    paired = distinct and all(t["entries"] in ids for t in manifest["targets"])
    yield from _seeds(manifest)
    yield from _duplicates(manifest)
    yield from _target_sets(manifest) if distinct else ()
    yield from _rows(manifest) if paired else ()
    yield from _declared(manifest, tensors) if paired else ()


def of_values(manifest: Mapping[str, Any], tensors: Mapping[str, Array]) -> Iterator[Violation]:
    """Yields the broken rules that ask for tensors' values."""
    if len({s["id"] for s in manifest["entries"]}) == len(manifest["entries"]):
        yield from _entry_values(manifest, tensors)
    yield from _finite_values(tensors)


def seed_value(seed: Any) -> int:
    """Returns a seed, given as integer or decimal string, as an int."""
    return int(seed)


def _seeds(manifest: Mapping[str, Any]) -> Iterator[Violation]:
    places = [("seed", manifest.get("seed", 0))]
    for index, entry_set in enumerate(manifest["entries"]):
        seed = entry_set.get("sampling", {}).get("seed", 0)
        places.append((f"entries[{index}].sampling.seed", seed))
    for where, seed in places:
        if seed_value(seed) > limits.MAX_SEED:
            yield Violation("E-FIELD-VALUE", where, "too large", str(seed), "at most 2^64 - 1")


def _duplicates(manifest: Mapping[str, Any]) -> Iterator[Violation]:
    named = (
        ("E-ENTRIES-DUPLICATE", "entries", [s["id"] for s in manifest["entries"]]),
        ("E-TARGET-DUPLICATE", "targets", [t["name"] for t in manifest["targets"]]),
        ("E-REPLACEMENT-DUPLICATE", "replacements", manifest.get("replacements", [])),
    )
    for code, where, names in named:
        for name, times in Counter(names).items():
            if times > 1:
                yield Violation(code, where, f"{name!r} occurs {times} times")


def _target_sets(manifest: Mapping[str, Any]) -> Iterator[Violation]:
    """Each target names an entry set of its own shape."""
    shapes = {s["id"]: s["shape"] for s in manifest["entries"]}
    for index, target in enumerate(manifest["targets"]):
        where = f"targets[{index}]"
        id_ = target["entries"]
        if id_ not in shapes:
            yield Violation("E-TARGET-ENTRIES", f"{where}.entries", "no such entry set", repr(id_))
        elif target["shape"] != shapes[id_]:
            got, expected = str(target["shape"]), str(shapes[id_])
            yield Violation(
                "E-TARGET-SHAPE", f"{where}.shape", "not its set's shape", got, expected
            )


def _rows(manifest: Mapping[str, Any]) -> Iterator[Violation]:
    """Each row of each set belongs to one target."""
    rows: dict[str, list[int]] = {s["id"]: [] for s in manifest["entries"]}
    for target in manifest["targets"]:
        rows[target["entries"]].append(int(target["row"]))
    for id_, used in rows.items():
        if sorted(used) != list(range(len(used))) or not used:
            yield Violation(
                "E-TARGET-ROW",
                f"entries/{id_}",
                "the rows of its targets are not 0, 1, 2, ... once each",
                str(sorted(used)[:8]),
            )


def _expected(manifest: Mapping[str, Any]) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Returns each tensor that the manifest declares, but replacements: dtypes and shape."""
    targets = Counter(t["entries"] for t in manifest["targets"])
    expected: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {}
    for entry_set in manifest["entries"]:
        id_, count, rows = entry_set["id"], int(entry_set["count"]), targets[entry_set["id"]]
        expected[f"entries/{id_}"] = (("I32",), (count, 2))
        expected[f"coefficients/{id_}"] = (COEFFICIENT_DTYPES, (rows, count))
        if "fingerprints" in entry_set:
            prefix = f"fingerprints/{id_}"
            expected[f"{prefix}/samples"] = (("F32",), (rows, FINGERPRINT_SAMPLES))
            expected[f"{prefix}/norm"] = (("F64",), (rows,))
            expected[f"{prefix}/sha256"] = (("U8",), (rows, SHA256_BYTES))
    return expected


def _declared(manifest: Mapping[str, Any], tensors: Mapping[str, Array]) -> Iterator[Violation]:
    expected = _expected(manifest)
    for name, (dtypes, shape) in expected.items():
        if name not in tensors:
            yield Violation("E-TENSOR-MISSING", name, "this tensor is missing")
            continue
        array = tensors[name]
        dtype = dtype_name(array.dtype)
        if dtype not in dtypes:
            wanted = " or ".join(dtypes)
            yield Violation("E-TENSOR-DTYPE", name, "wrong dtype", str(dtype), wanted)
        if 0 not in shape and array.shape != shape:  # 0: a set without targets, which is reported
            got, wanted = str(array.shape), str(shape)
            yield Violation("E-TENSOR-SHAPE", name, "wrong shape", got, wanted)
    replacements = {f"replacements/{name}" for name in manifest.get("replacements", [])}
    for name in sorted(replacements - tensors.keys()):
        yield Violation("E-TENSOR-MISSING", name, "this tensor is missing")
    for name in sorted(tensors.keys() - expected.keys() - replacements):
        if not _is_extension_tensor(name, manifest):
            yield Violation("E-TENSOR-UNDECLARED", name, "the manifest does not declare it")
    for name in sorted(tensors.keys() - expected.keys()):
        yield from _carriable(name, tensors[name])


def _carriable(name: str, array: Array) -> Iterator[Violation]:
    """Containers refuse the same when they read; here it keeps `save` from writing it."""
    if dtype_name(array.dtype) is None:
        yield Violation("E-CONTAINER-DTYPE", name, "no name in the format", str(array.dtype))
    if not limits.allow_shape(array.shape):
        expected = f"at most {limits.MAX_TENSOR_RANK} axes, none empty"
        yield Violation("E-LIMIT", name, "a shape beyond the limits", str(array.shape), expected)
    if any("\ud800" <= character <= "\udfff" for character in name):
        yield Violation("E-JSON-SURROGATE", name, "half of a surrogate pair")


def _is_extension_tensor(name: str, manifest: Mapping[str, Any]) -> bool:
    parts = name.split("/", 2)
    if len(parts) != 3 or parts[0] != "extensions":
        return False
    _, field, rest = parts
    named = re.search(ID_PATTERN, field) and re.search(NAME_PATTERN, rest)  # no line feed: 4.3
    return bool(named) and field not in MANIFEST.fields and is_extension(manifest.get(field))


def _entry_values(manifest: Mapping[str, Any], tensors: Mapping[str, Array]) -> Iterator[Violation]:
    for entry_set in manifest["entries"]:
        name = f"entries/{entry_set['id']}"
        if name in tensors and tensors[name].ndim == 2 and tensors[name].shape[1] == 2:
            out, in_ = (int(size) for size in entry_set["shape"])
            yield from _entries(name, tensors[name], (out, in_))


SOUND_ENTRIES: Final[Recent[tuple[bytes, np.dtype[Any], tuple[int, int]], bool]] = Recent()
"""Entries that lie in a spectrum of this shape and are distinct: adapters of one layout share them,
and checking takes longer than comparing."""


def _finite_values(tensors: Mapping[str, Array]) -> Iterator[Violation]:
    finite = [n for n in tensors if n.split("/", 1)[0] != "extensions"]
    for name in sorted(finite):
        yield from _finite(name, tensors[name])


def _entries(name: str, entries: Array, shape: tuple[int, int]) -> Iterator[Violation]:
    if entries.dtype.kind not in "iu":
        return
    key = (entries.tobytes(), entries.dtype, shape)
    if SOUND_ENTRIES.get(key):
        return
    out, in_ = shape
    wide = np.ascontiguousarray(entries, np.int64)
    u, v = wide[:, 0], wide[:, 1]
    if (wide.view(np.uint64) >= np.array(shape, np.uint64)).any():  # what is negative wraps
        outside = np.flatnonzero((u < 0) | (u >= out) | (v < 0) | (v >= in_))
        k = int(outside[0])
        yield Violation(
            "E-ENTRY-RANGE",
            f"{name}[{k}]",
            f"outside the spectrum ({outside.size} such entries)",
            f"({u[k]}, {v[k]})",
            f"u < {out}, v < {in_}",
        )
        return
    flat = u * in_ + v
    ordered = np.sort(flat)  # np.unique hashes them, in five times the time
    if (ordered[1:] == ordered[:-1]).any():
        k = _first_repeat(flat)
        yield Violation("E-ENTRY-DUPLICATE", f"{name}[{k}]", "occurs before", f"({u[k]}, {v[k]})")
        return
    SOUND_ENTRIES.put(key, True, len(key[0]))


def _first_repeat(values: Array) -> int:
    order = np.argsort(values, kind="stable")
    repeated = order[1:][values[order[1:]] == values[order[:-1]]]
    return int(repeated.min())


def _finite(name: str, array: Array) -> Iterator[Violation]:
    if dtype_name(array.dtype) in FLOAT_DTYPES:
        if not all_finite(array):
            bad = np.flatnonzero(~np.isfinite(array.reshape(-1)))
            place = _index(int(bad[0]), array.shape)
            value = str(array.reshape(-1)[bad[0]])
            yield Violation("E-NUMBER-NONFINITE", f"{name}{place}", "not finite", value)
        elif name.endswith("/norm") and name.startswith("fingerprints/") and (array < 0).any():
            yield Violation("E-FIELD-VALUE", name, "a norm is negative")


def _index(flat: int, shape: Iterable[int]) -> str:
    return str([int(i) for i in np.unravel_index(flat, tuple(shape))])
