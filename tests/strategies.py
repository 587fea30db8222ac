"""Hypothesis strategies for everything that a valid adapter can be."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fourier_format import Adapter, EntrySet, Fingerprints, Sampling, Target, structure
from fourier_format.adapter import Array
from fourier_format.dtypes import DTYPES
from fourier_format.limits import MAX_SAFE_INTEGER, MAX_SEED

DRAW = st.DrawFn

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
"""Any text but half surrogate pairs."""

names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
"""Names of targets and replacements, "/", "." and "%" more often than by chance."""

tricky_names = names | st.sampled_from(
    [".", "..", "a/b", "/", "%", "%2F", "%2E.", "a/../b", "é", "🙂"]
)

words = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}\Z")

reals = st.floats(allow_nan=False, allow_infinity=False)
numbers = reals | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)

seeds = st.integers(0, MAX_SEED)

json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
json_objects = st.dictionaries(texts, json_values, max_size=3)

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))


def extensions(record: structure.Record) -> st.SearchStrategy[dict[str, Any]]:
    """Returns fields that a later minor version may add to `record`."""
    keys = words.filter(lambda key: key not in record.fields)
    optional = json_objects.map(lambda value: value | {"must_understand": False})
    return st.dictionaries(keys, optional, max_size=1)


@st.composite
def arrays(draw: DRAW, dtype: str, shape: tuple[int, ...]) -> Array:
    """Draws an array of finite numbers of the dtype that the format calls `dtype`."""
    if dtype == "BF16":
        bits = draw(arrays("F32", shape)).view(np.uint32) >> np.uint32(16)
        return np.asarray(bits, np.uint16).view(ml_dtypes.bfloat16)
    wanted = DTYPES[dtype]
    kind: dict[str, Any] = {"allow_nan": False, "allow_infinity": False}
    elements = hnp.from_dtype(wanted, **kind) if wanted.kind == "f" else None
    return np.asarray(draw(hnp.arrays(wanted, shape, elements=elements)))


@st.composite
def entries(draw: DRAW, shape: tuple[int, int]) -> Array:
    """Draws (n, 2) int32 distinct entries of a spectrum of this shape, in any order."""
    total = shape[0] * shape[1]
    flat = draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=8, unique=True))
    return np.stack(np.divmod(np.array(flat), shape[1]), axis=1).astype(np.int32)


@st.composite
def recipes(draw: DRAW) -> Sampling:
    """Draws any recipe, also of methods that nobody knows."""
    return Sampling(
        method=draw(words),
        generator=draw(st.none() | words),
        seed=draw(st.none() | seeds),
        parameters=draw(st.dictionaries(texts, reals, max_size=2)),
        extensions=draw(extensions(structure.SAMPLING)),
    )


@st.composite
def fingerprints(draw: DRAW, rows: int) -> Fingerprints:
    """Draws the fingerprints of `rows` targets."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))  # 65 numbers a row are slow to draw
    return Fingerprints(
        dtype=draw(st.sampled_from(["F32", "F16", "BF16", "F64"])),
        samples=rng.standard_normal((rows, 32), np.float32),
        norm=rng.random(rows),
        sha256=rng.integers(0, 256, (rows, 32), np.uint8),
        extensions=draw(extensions(structure.FINGERPRINTS)),
    )


@st.composite
def entry_sets(draw: DRAW, id_: str, rows: int) -> EntrySet:
    """Draws an entry set of `rows` targets."""
    shape = draw(shapes)
    positions = draw(entries(shape))
    dtype = draw(st.sampled_from(["F32", "F16", "BF16"]))
    return EntrySet(
        id=id_,
        shape=shape,
        entries=positions,
        coefficients=draw(arrays(dtype, (rows, len(positions)))),
        sampling=draw(st.none() | recipes()),
        fingerprints=draw(st.none() | fingerprints(rows)),
        extensions=draw(extensions(structure.ENTRY_SET)),
    )


@st.composite
def targets(draw: DRAW, entry_set: EntrySet, row: int, name: str) -> Target:
    """Draws the target of one row of an entry set."""
    return Target(
        name=name,
        kind=draw(st.sampled_from(["linear", "conv2d", "embedding", "einsum_dense"])),
        shape=entry_set.shape,
        entries=entry_set.id,
        row=row,
        alpha=draw(st.none() | reals),
        extensions=draw(extensions(structure.TARGET)),
    )


@st.composite
def replacements(draw: DRAW) -> dict[str, Array]:
    """Draws whole tensors of every dtype and of zero to three axes."""
    shape = hnp.array_shapes(min_dims=0, max_dims=3, max_side=3)
    found = draw(st.lists(tricky_names, max_size=3, unique=True))
    kinds = st.sampled_from(sorted(DTYPES))
    return {name: draw(arrays(draw(kinds), draw(shape))) for name in found}


@st.composite
def adapters(draw: DRAW) -> Adapter:
    """Draws an adapter of one to three entry sets with one to three targets each."""
    ids = draw(st.lists(words, min_size=1, max_size=3, unique=True))
    sets = tuple(draw(entry_sets(id_, draw(st.integers(1, 3)))) for id_ in ids)
    rows = [(s, row) for s in sets for row in range(len(s.coefficients))]
    rows = draw(st.permutations(rows))
    count = len(rows)
    called = draw(st.lists(tricky_names, min_size=count, max_size=count, unique=True))
    extra = draw(extensions(structure.MANIFEST))
    return Adapter(
        alpha=draw(reals),
        entry_sets=sets,
        targets=tuple(draw(targets(s, row, n)) for (s, row), n in zip(rows, called, strict=True)),
        seed=draw(st.none() | seeds),
        target_modules=draw(st.none() | texts | st.lists(texts, max_size=2).map(tuple)),
        replacements=draw(replacements()),
        base_model=draw(st.none() | st.just({"name": "bert", "revision": "1"})),
        producer=draw(st.none() | st.just({"name": "tests"})),
        labels=draw(st.none() | st.lists(texts, max_size=2).map(tuple)),
        origin=draw(st.none() | st.just({"format": "peft", "text": '{"a": 1}\n'})),
        metadata=draw(st.none() | json_objects),
        version=draw(st.sampled_from(["1.0", "1.7"])),
        extensions=extra,
        extension_tensors={
            f"extensions/{key}/{draw(tricky_names)}": draw(arrays("F16", (2,))) for key in extra
        },
    )
