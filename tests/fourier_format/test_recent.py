"""A file whose layout is known is judged exactly as if it were the first that was ever read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fourier_format
from fourier_format import Adapter, manifest, meaning
from fourier_format.containers import safetensors
from fourier_format.document import Document
from fourier_format.errors import InvalidAdapterError, Violation
from fourier_format.files import decode
from fourier_format.recent import PLACES, Recent
from tests.conformance import vectors
from tests.conformance.vectors import Vector
from tests.fourier_format import minimal
from tests.fourier_format.equality import assert_same
from tests.fourier_format.minimal import Fields, Tensors
from tests.strategies import adapters

VALID = [v for v in vectors.read("valid", "forward") if v.adapter().suffix == ".fft"]
REFUSED = [v for v in vectors.refused("invalid", "forward") if v.adapter().suffix == ".fft"]
MARK = '","fourier_format_sha256":"'


def forget() -> None:
    safetensors.HEADERS.clear()
    manifest.READ.clear()
    meaning.SOUND_ENTRIES.clear()


@pytest.fixture(autouse=True)
def _forgetful() -> Iterator[None]:
    forget()
    yield
    forget()


def judged(data: bytes) -> tuple[Violation, ...] | Adapter:
    try:
        return fourier_format.from_bytes(data, "a.fft")
    except InvalidAdapterError as error:
        return error.violations


def assert_judged_alike(good: bytes, other: bytes) -> None:
    """Compare what `other` is when nothing is known, and when `good` was read before."""
    forget()
    alone = judged(other)
    forget()
    fourier_format.from_bytes(good, "good.fft")
    assert_same(judged(other), alone)
    assert_same(judged(other), alone)


def sound_twin(data: bytes) -> bytes | None:
    """Returns a sound file of the same manifest and layout, if sound numbers make one."""
    try:
        document = decode(data, "a.fft")
        tensors = {}
        for name, array in document.tensors.items():
            tensors[name] = np.zeros(array.shape, array.dtype)
            if name.startswith("entries/"):
                (width,) = re.findall(
                    rf'"id":"{name[8:]}","shape":\[\d+,(\d+)\]', document.manifest
                )
                pairs = np.divmod(np.arange(array.shape[0]), max(1, int(width)))
                tensors[name][:] = np.stack(pairs, axis=1)
        twin = safetensors.encode(Document(document.manifest, tensors))
        fourier_format.from_bytes(twin)
    except (InvalidAdapterError, ValueError):
        return None
    return twin


TWINS = {v.name: (twin, v) for v in REFUSED if (twin := sound_twin(v.adapter().read_bytes()))}


def test_every_broken_vector_is_refused_alike_after_the_good_ones() -> None:
    broken = {vector.name: vector.adapter().read_bytes() for vector in REFUSED}
    alone = {}
    for name, data in broken.items():
        forget()
        alone[name] = judged(data)
    good = [vector.adapter().read_bytes() for vector in VALID[-PLACES:]]

    for start in range(0, len(broken), 50):
        for data in good:
            fourier_format.from_bytes(data)
        for name in list(broken)[start : start + 50]:
            assert not isinstance(alone[name], Adapter)
            assert judged(broken[name]) == alone[name], name


@pytest.mark.parametrize(("twin", "vector"), TWINS.values(), ids=TWINS.keys())
def test_a_broken_vector_is_refused_alike_after_its_sound_twin(twin: bytes, vector: Vector) -> None:
    broken = vector.adapter().read_bytes()

    assert_judged_alike(twin, broken)
    assert not isinstance(judged(broken), Adapter)


def test_there_are_vectors_whose_numbers_alone_are_broken() -> None:
    codes = {code for _, vector in TWINS.values() for code in vector.codes}

    assert {"E-ENTRY-RANGE", "E-ENTRY-DUPLICATE", "E-NUMBER-NONFINITE", "E-FIELD-VALUE"} <= codes


def everything(fields: Fields, tensors: Tensors) -> None:
    """Give the small file what else a file can have; its text looks like a digest's place."""
    fields["replacements"] = ["w"]
    tensors["replacements/w"] = np.array(0.5, np.float16)
    fields["new"] = {"must_understand": False}
    tensors["extensions/new/é"] = np.arange(3, dtype=np.uint8)
    fields["metadata"] = {"note": MARK + "0" * 64 + '"', "list": [{"a": 1}]}


WHOLE = minimal.fft(everything)


def test_every_changed_byte_of_a_known_layout_is_judged_alike() -> None:
    for at in range(len(WHOLE)):
        for bit in (0, 5):  # 5: the case of letters, which hex digits must not have
            flipped = bytearray(WHOLE)
            flipped[at] ^= 1 << bit
            assert not isinstance(judged(bytes(flipped)), Adapter)
            assert_judged_alike(WHOLE, bytes(flipped))


def test_every_other_length_of_a_known_layout_is_judged_alike() -> None:
    for size in range(len(WHOLE)):
        assert_judged_alike(WHOLE, WHOLE[:size])
    assert_judged_alike(WHOLE, WHOLE + b"\0")


def digest_at(data: bytes) -> int:
    stated = decode(data, "a.fft").digest().encode()
    assert data.count(stated) == 1
    return data.index(stated)


def test_the_digest_of_a_known_layout_is_held_against_its_own_content() -> None:
    half = np.array(0.25, np.float16)
    other = minimal.fft(everything, lambda _, tensors: tensors.update({"replacements/w": half}))
    at = digest_at(WHOLE)
    swapped = WHOLE[:at] + other[at : at + 64] + WHOLE[at + 64 :]

    fourier_format.from_bytes(WHOLE)
    fourier_format.from_bytes(other)

    found = judged(swapped)
    assert isinstance(found, tuple)
    assert [v.code for v in found] == ["E-DIGEST"]
    assert_judged_alike(WHOLE, swapped)


@pytest.mark.parametrize("stated", [b"", b"0" * 63, b"g" * 64, b"A" * 64, b'\\"' * 32, b'"' * 64])
def test_what_is_no_digest_in_a_known_layout_is_judged_alike(stated: bytes) -> None:
    at = digest_at(WHOLE)
    length = int.from_bytes(WHOLE[:8], "little")
    header = (WHOLE[8:at] + stated + WHOLE[at + 64 : 8 + length]).rstrip(b" ")
    header += b" " * (-len(header) % 8)
    broken = len(header).to_bytes(8, "little") + header + WHOLE[8 + length :]

    assert not isinstance(judged(broken), Adapter)
    assert_judged_alike(WHOLE, broken)


@pytest.mark.parametrize("text", [MARK, '"' + MARK, "," + MARK, MARK[1:], "\\" + MARK, '",'])
def test_manifests_that_differ_where_they_look_like_a_digest_are_told_apart(text: str) -> None:
    made = []
    for digit in "01":
        value = {"a": text + digit * 64 + '"'}
        made.append((minimal.fft(minimal.set_in("metadata", value)), value))

    for data, value in made + made[::-1]:
        assert fourier_format.from_bytes(data).metadata == value


@settings(max_examples=15, deadline=None)
@given(adapters(), st.integers(0, 2**32))
def test_adapters_of_one_layout_keep_their_own_numbers(adapter: Adapter, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sets = [
        replace(
            s, coefficients=rng.standard_normal(s.coefficients.shape).astype(s.coefficients.dtype)
        )
        for s in adapter.entry_sets
    ]
    other = replace(adapter, entry_sets=tuple(sets))
    first, second = fourier_format.to_bytes(adapter), fourier_format.to_bytes(other)
    forget()

    for _ in range(2):
        assert_same(fourier_format.from_bytes(first), adapter)
        assert_same(fourier_format.from_bytes(second), other)


def extended(fields: Fields, _: Tensors) -> None:
    """Put in all the JSON that an adapter keeps as it is."""
    new = {"new": {"must_understand": False}}
    recipe = {"method": "band-pass", "generator": "g", "parameters": {"centre": 1.0}}
    fields |= new | {"metadata": {"a": 1}, "base_model": {"name": "b"}, "producer": {"name": "p"}}
    fields["origin"] = {"format": "peft", "text": "{}"}
    fields["entries"][0] |= new | {"sampling": recipe | new}
    fields["targets"][0] |= new


def test_changing_the_json_of_one_adapter_does_not_change_the_next() -> None:
    data = minimal.fft(extended)
    expected = fourier_format.from_bytes(data)
    forget()
    first = fourier_format.from_bytes(data)
    recipe = first.entry_sets[0].sampling
    assert recipe is not None
    for fields in (
        *(first.metadata, first.base_model, first.producer, first.origin, recipe.parameters),
        *(first.extensions["new"], recipe.extensions["new"]),
        *(first.entry_sets[0].extensions["new"], first.targets[0].extensions["new"]),
    ):
        assert isinstance(fields, dict)
        fields["must_understand"] = True

    assert_same(fourier_format.from_bytes(data), expected)


@pytest.mark.parametrize("shape", [[4, 5], [3, 6], [2, 9]])
def test_entries_that_are_sound_in_one_shape_are_asked_anew_in_another(shape: list[int]) -> None:
    fits = [minimal.set_in("entries.0.shape", [4, 6]), minimal.set_in("targets.0.shape", [4, 6])]
    less = [minimal.set_in("entries.0.shape", shape), minimal.set_in("targets.0.shape", shape)]

    assert_judged_alike(minimal.fft(*fits), minimal.fft(*less))
    found = judged(minimal.fft(*less))
    assert isinstance(found, tuple)
    assert [v.code for v in found] == ["E-ENTRY-RANGE"]


def test_threads_load_files_of_several_layouts_as_one_thread_does(tmp_path: Path) -> None:
    found = {vector.adapter(): judged(vector.adapter().read_bytes()) for vector in VALID[:20]}
    paths = [path for path, adapter in found.items() if isinstance(adapter, Adapter)] * 10
    forget()

    with ThreadPoolExecutor(8) as threads:
        for path, adapter in zip(paths, threads.map(fourier_format.load, paths), strict=True):
            assert_same(adapter, found[path])


def test_what_was_not_asked_for_the_longest_is_forgotten_first() -> None:
    recent: Recent[str, int] = Recent(places=2)
    recent.put("a", 1, 1)
    recent.put("b", 2, 1)
    recent.get("a")
    recent.put("c", 3, 1)

    assert [recent.get(key) for key in "abc"] == [1, None, 3]


def test_what_is_too_large_is_not_remembered() -> None:
    recent: Recent[str, int] = Recent(largest=10)
    recent.put("a", 1, 11)
    recent.put("b", 2, 10)

    assert [recent.get(key) for key in "ab"] == [None, 2]


def test_what_is_written_into_one_adapter_is_not_in_the_next_of_its_layout() -> None:
    data = VALID[0].adapter().read_bytes()
    for _ in range(2):
        for target in fourier_format.from_bytes(data).targets:
            extensions = target.extensions
            assert isinstance(extensions, dict)
            assert "acme:note" not in extensions
            extensions["acme:note"] = "of this adapter alone"
