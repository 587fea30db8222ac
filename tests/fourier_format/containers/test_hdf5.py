"""A .fft.h5 holds the same content, and nothing that HDF5 could do besides (spec, clause 4.4)."""

from __future__ import annotations

import io
import os
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings

import fourier_format
from fourier_format import Adapter, manifest
from fourier_format.containers import hdf5, safetensors
from fourier_format.document import Document
from fourier_format.errors import DependencyMissingError, InvalidAdapterError
from tests.fourier_format import minimal, samples
from tests.fourier_format.equality import assert_same
from tests.fourier_format.minimal import set_in
from tests.strategies import adapters

Change = Callable[[h5py.File], object]
MANIFEST, DIGEST = hdf5.MANIFEST_DATASET, hdf5.DIGEST_ATTRIBUTE
FEATURE = "E-HDF5-FEATURE"


def changed(change: Change, document: Document | None = None) -> bytes:
    """Return a .fft.h5 file after a change made through HDF5."""
    buffer = io.BytesIO(hdf5.encode(document or minimal.document()))
    with h5py.File(buffer, "r+", libver=("v108", "latest")) as file:
        change(file)
    return buffer.getvalue()


def refused(data: bytes) -> str:
    with pytest.raises(InvalidAdapterError) as caught:
        fourier_format.from_bytes(data, "a.fft.h5")
    assert caught.value.violations[0].where.startswith("a.fft.h5")
    return caught.value.code


def replaced(path: str, **options: Any) -> Change:
    """Return the change that creates a dataset anew with other options."""

    def change(file: h5py.File) -> None:
        data = file[path][()]
        del file[path]
        file.create_dataset(path, **{"data": data} | options)

    return change


# the same content as a .fft


@settings(max_examples=50)
@given(adapters())
def test_every_valid_adapter_goes_to_hdf5_and_back_to_the_same_bytes(adapter: Adapter) -> None:
    fft = fourier_format.to_bytes(adapter)

    h5 = fourier_format.to_bytes(fourier_format.from_bytes(fft), "h5")
    back = fourier_format.from_bytes(h5)

    assert_same(back, adapter)
    assert fourier_format.to_bytes(back) == fft


def test_equal_adapters_give_equal_hdf5_bytes() -> None:
    assert fourier_format.to_bytes(samples.adapter(), "h5") == fourier_format.to_bytes(
        samples.adapter(), "h5"
    )


def test_both_containers_carry_the_manifest_verbatim_and_one_digest() -> None:
    document = Document(' {"any":  "text"}\n', minimal.tensors())

    found = hdf5.decode(hdf5.encode(document), "test")

    assert found.manifest == document.manifest
    assert found.digest() == safetensors.decode(safetensors.encode(document), "test").digest()


def test_a_file_has_the_layout_of_the_specification() -> None:
    document = manifest.to_document(samples.adapter())

    with h5py.File(io.BytesIO(hdf5.encode(document)), "r") as file:
        assert file[MANIFEST][()].tobytes().decode() == document.manifest
        assert file.attrs[DIGEST] == document.digest().encode()
        assert file["entries/48x32"].dtype == np.dtype("<i4")
        assert file["fingerprints/48x32/norm"].shape == (3,)
        assert file["replacements/head.weight"].dtype == np.dtype("<f2")
        bfloat16 = file["coefficients/16x32"]
        assert bfloat16.dtype == np.dtype("<u2")
        assert bfloat16.attrs["dtype"] == b"BF16"
        assert np.array_equal(
            bfloat16[()].view(samples.adapter().entry_sets[1].coefficients.dtype),
            samples.adapter().entry_sets[1].coefficients,
        )


NAMES = {
    "replacements/head.weight": "replacements/head.weight",
    "replacements/head/bias": "replacements/head%2Fbias",
    "replacements/.": "replacements/%2E",
    "replacements/..": "replacements/%2E.",
    "replacements/../x": "replacements/%2E.%2Fx",
    "replacements//": "replacements/%2F",
    "replacements/%2F": "replacements/%252F",
    "replacements/100%": "replacements/100%25",
    "replacements/größe 🙂": "replacements/größe 🙂",
    "extensions/new/a/b": "extensions/new%2Fa%2Fb",
    "fingerprints/4x6/norm": "fingerprints/4x6/norm",
}


@pytest.mark.parametrize(("name", "path"), NAMES.items())
def test_a_tensors_name_becomes_a_path_and_comes_back(name: str, path: str) -> None:
    document = Document("{}", {name: np.arange(3)})

    data = hdf5.encode(document)

    with h5py.File(io.BytesIO(data), "r") as file:
        assert path in file
    assert list(hdf5.decode(data, "test").tensors) == [name]


def test_a_name_with_nul_does_not_end_there() -> None:
    document = Document("{}", {"x/a\0b": np.arange(3), "x/a": np.arange(2)})

    assert set(hdf5.decode(hdf5.encode(document), "test").tensors) == {"x/a\0b", "x/a"}


def test_big_endian_arrays_in_memory_are_written_little_endian() -> None:
    big = Document("{}", {"x/a": np.arange(3, dtype=">f4")})
    little = Document("{}", {"x/a": np.arange(3, dtype="<f4")})

    assert hdf5.encode(big) == hdf5.encode(little)


# any change of manifest or array is detected


def test_a_changed_manifest_is_detected() -> None:
    text = minimal.document(set_in("alpha", 3.5)).manifest.encode()

    def change(file: h5py.File) -> None:
        file[MANIFEST][...] = np.frombuffer(text, np.uint8)

    assert refused(changed(change)) == "E-DIGEST"


@pytest.mark.parametrize("name", ["coefficients/4x6", "entries/4x6"])
def test_a_changed_number_is_detected(name: str) -> None:
    def change(file: h5py.File) -> None:
        file[name][0, 0] += 1

    assert refused(changed(change)) == "E-DIGEST"


@pytest.mark.parametrize(
    "data",
    [
        np.array([[1.5, -2.0, 0.25]], np.float64),
        np.array([[1.5], [-2.0], [0.25]], np.float32),
        np.array([[1.5, -2.0, 0.25]], np.float32).view(np.int32),
    ],
    ids=["dtype", "shape", "reinterpreted"],
)
def test_the_same_numbers_in_another_form_are_detected(data: Any) -> None:
    assert refused(changed(replaced("coefficients/4x6", data=data))) == "E-DIGEST"


def test_a_tensor_more_less_or_renamed_is_detected() -> None:
    def more(file: h5py.File) -> None:
        file["replacements/x"] = np.ones(2)

    def less(file: h5py.File) -> None:
        del file["entries/4x6"]

    def renamed(file: h5py.File) -> None:
        file.move("entries/4x6", "entries/6x4")

    assert [refused(changed(change)) for change in (more, less, renamed)] == ["E-DIGEST"] * 3


def test_a_dtype_attribute_put_on_or_taken_off_is_detected() -> None:
    document = manifest.to_document(samples.adapter())

    def off(file: h5py.File) -> None:
        del file["coefficients/16x32"].attrs["dtype"]

    def wrong(file: h5py.File) -> None:
        file["coefficients/48x32"].attrs["dtype"] = np.bytes_("BF16")

    def other(file: h5py.File) -> None:
        file["coefficients/16x32"].attrs["dtype"] = np.bytes_("F16")

    assert refused(changed(off, document)) == "E-DIGEST"
    assert refused(changed(wrong, document)) == "E-CONTAINER-DTYPE"
    assert refused(changed(other, document)) == "E-CONTAINER-DTYPE"


def test_other_attributes_and_empty_groups_are_ignored() -> None:
    def change(file: h5py.File) -> None:
        file.attrs["note"] = "mine"
        file["entries/4x6"].attrs["unit"] = 3
        file.create_group("empty")

    assert_same(fourier_format.from_bytes(changed(change)), minimal.adapter())


# what HDF5 could do besides


def soft_link(file: h5py.File) -> None:
    file["coefficients/4x6b"] = h5py.SoftLink("/coefficients/4x6")


def dangling_link(file: h5py.File) -> None:
    file["dangling"] = h5py.SoftLink("/nowhere")


def soft_manifest(file: h5py.File) -> None:
    file.move(MANIFEST, "elsewhere")
    file[MANIFEST] = h5py.SoftLink("/elsewhere")


def external_link(file: h5py.File) -> None:
    file["replacements/x"] = h5py.ExternalLink("/etc/passwd", "/")


def second_name(file: h5py.File) -> None:
    file["replacements/x"] = file["entries/4x6"]


def second_name_of_a_group(file: h5py.File) -> None:
    file["again"] = file["entries"]


def circle(file: h5py.File) -> None:
    file["entries/root"] = file["/"]


def self_circle(file: h5py.File) -> None:
    file["entries/self"] = file["entries"]


def named_type(file: h5py.File) -> None:
    file["type"] = np.dtype("f4")


def deep_groups(file: h5py.File) -> None:
    file["a/b/c/d"] = np.ones(2)


def deep_empty_groups(file: h5py.File) -> None:
    file.create_group("a/b/c")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2,), np.float32)
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (2,))
    file.create_virtual_dataset("x", layout)


def compact(file: h5py.File) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple((2,))
    h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, space, properties)


def external_storage(file: h5py.File) -> None:
    file.create_dataset("x", (2,), "u1", external=[("/etc/passwd", 0, 2)])


def null_dataspace(file: h5py.File) -> None:
    file["x"] = h5py.Empty("f4")


def made(name: str, **options: Any) -> Change:
    return lambda file: file.create_dataset(name, **options)


def typed(type_id: Any) -> Change:
    """Return the change that creates a dataset of a type that h5py alone would not make."""
    return lambda file: h5py.h5d.create(file.id, b"x", type_id, h5py.h5s.create_simple((2,)))


def bfloat16_type() -> Any:
    type_id = h5py.h5t.IEEE_F32LE.copy()
    type_id.set_fields(15, 7, 8, 0, 7)
    type_id.set_size(2)
    type_id.set_ebias(127)
    return type_id


def short_integer_type() -> Any:
    type_id = h5py.h5t.STD_I32LE.copy()
    type_id.set_precision(20)
    return type_id


def digest_attribute(value: Any) -> Change:
    def change(file: h5py.File) -> None:
        del file.attrs[DIGEST]
        file.attrs[DIGEST] = value

    return change


VARIABLE_TEXT = h5py.string_dtype()
COMPOUND = np.dtype([("a", "<f4"), ("b", "<i4")])

FORBIDDEN: dict[str, tuple[Change, str]] = {
    "soft link": (soft_link, FEATURE),
    "dangling soft link": (dangling_link, FEATURE),
    "soft link to the manifest": (soft_manifest, FEATURE),
    "external link": (external_link, FEATURE),
    "dataset with two names": (second_name, FEATURE),
    "group with two names": (second_name_of_a_group, FEATURE),
    "group that holds the root": (circle, FEATURE),
    "group that holds itself": (self_circle, FEATURE),
    "named datatype": (named_type, FEATURE),
    "deep groups": (deep_groups, FEATURE),
    "deep empty groups": (deep_empty_groups, FEATURE),
    "chunks": (made("x", data=np.ones(4), chunks=(2,)), FEATURE),
    "gzip": (made("x", data=np.ones(4), compression="gzip"), FEATURE),
    "checksum filter": (made("x", data=np.ones(4), fletcher32=True), FEATURE),
    "resizable": (made("x", data=np.ones(4), maxshape=(None,)), FEATURE),
    "compact": (compact, FEATURE),
    "virtual": (virtual, FEATURE),
    "data outside the file": (external_storage, FEATURE),
    "null dataspace": (null_dataspace, FEATURE),
    "manifest in chunks": (replaced(MANIFEST, compression="gzip"), FEATURE),
    "name escaped in another way": (made("entries/%61", data=np.ones(2)), FEATURE),
    "name with an unescaped percent": (made("x/100%", data=np.ones(2)), FEATURE),
    "name that hides another": (made("entries%2F4x6", data=np.ones(2)), FEATURE),
    "name whose escape is not UTF-8": (made("x/%ff", data=np.ones(2)), FEATURE),
    "variable-length text": (made("x", data=["a"], dtype=VARIABLE_TEXT), "E-CONTAINER-DTYPE"),
    "fixed-length text": (made("x", data=np.array([b"a"])), "E-CONTAINER-DTYPE"),
    "references": (made("x", shape=(2,), dtype=h5py.ref_dtype), "E-CONTAINER-DTYPE"),
    "region references": (made("x", shape=(2,), dtype=h5py.regionref_dtype), "E-CONTAINER-DTYPE"),
    "variable-length lists": (
        made("x", shape=(2,), dtype=h5py.vlen_dtype("i4")),
        "E-CONTAINER-DTYPE",
    ),
    "compound": (made("x", data=np.zeros(2, COMPOUND)), "E-CONTAINER-DTYPE"),
    "array type": (typed(h5py.h5t.array_create(h5py.h5t.IEEE_F32LE, (3,))), "E-CONTAINER-DTYPE"),
    "complex": (made("x", data=np.zeros(2, np.complex64)), "E-CONTAINER-DTYPE"),
    "enumeration": (
        made("x", shape=(2,), dtype=h5py.enum_dtype({"a": 0}, "u1")),
        "E-CONTAINER-DTYPE",
    ),
    "booleans as h5py writes them": (made("x", data=np.array([True])), "E-CONTAINER-DTYPE"),
    "big-endian": (made("x", data=np.ones(2, ">f4")), "E-CONTAINER-DTYPE"),
    "long double": (made("x", data=np.ones(2, np.longdouble)), "E-CONTAINER-DTYPE"),
    "opaque": (made("x", data=np.zeros(2, "V3")), "E-CONTAINER-DTYPE"),
    "bit field": (typed(h5py.h5t.STD_B8LE), "E-CONTAINER-DTYPE"),
    "a float of other fields": (typed(bfloat16_type()), "E-CONTAINER-DTYPE"),
    "an integer of 20 bits": (typed(short_integer_type()), "E-CONTAINER-DTYPE"),
    "an empty dimension": (made("x", shape=(0, 3), dtype="f4"), "E-LIMIT"),
    "nine dimensions": (made("x", data=np.ones((1,) * 9)), "E-LIMIT"),
    "more data than the file has": (made("x", shape=(10**6,), dtype="u1"), "E-CONTAINER-TRUNCATED"),
    "petabytes": (made("x", shape=(2**20, 2**24), dtype="f8"), "E-CONTAINER-TRUNCATED"),
    "no manifest": (lambda file: file.__delitem__(MANIFEST), "E-NOT-FOURIER-FORMAT"),
    "no digest": (lambda file: file.attrs.__delitem__(DIGEST), "E-NOT-FOURIER-FORMAT"),
    "manifest of 32-bit numbers": (
        replaced(MANIFEST, data=np.arange(9, dtype=np.int32)),
        "E-CONTAINER-HEADER",
    ),
    "manifest of two dimensions": (
        replaced(MANIFEST, data=np.ones((2, 2), np.uint8)),
        "E-CONTAINER-HEADER",
    ),
    "manifest that is not UTF-8": (
        replaced(MANIFEST, data=np.array([0xFF], np.uint8)),
        "E-JSON-SYNTAX",
    ),
    "digest as a number": (digest_attribute(np.int64(7)), FEATURE),
    "digest as a list": (digest_attribute(np.zeros(3)), FEATURE),
    "digest as variable-length text": (digest_attribute("0" * 64), FEATURE),
    "digest of other text": (digest_attribute(np.bytes_("0" * 64)), "E-DIGEST"),
}


@pytest.mark.parametrize(("change", "code"), FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_what_the_format_does_not_need_is_refused(change: Change, code: str) -> None:
    assert refused(changed(change)) == code


def test_an_external_link_in_place_of_the_manifest_opens_no_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # opening it would wait for ever

    def change(file: h5py.File) -> None:
        del file[MANIFEST]
        file[MANIFEST] = h5py.ExternalLink(str(pipe), "/x")

    assert refused(changed(change)) == FEATURE


def test_a_digest_attribute_that_is_a_large_number_costs_no_memory() -> None:
    data = changed(digest_attribute(np.int64(10**9)))

    tracemalloc.start()
    code = refused(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert code == FEATURE
    assert peak < 10_000_000


def test_one_array_under_many_names_is_refused_before_it_is_read_many_times() -> None:
    def change(file: h5py.File) -> None:
        file["x/0"] = np.zeros(10**6, np.uint8)
        for i in range(1, 300):
            file[f"x/{i}"] = file["x/0"]

    data = changed(change)

    tracemalloc.start()
    code = refused(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert code == FEATURE
    assert peak < 10 * len(data)


def test_groups_linked_a_million_times_are_refused_at_the_first() -> None:
    def change(file: h5py.File) -> None:
        outer = file.create_group("a")
        inner = outer.create_group("b")
        for i in range(1000):
            file[f"a{i}"] = outer
            outer[f"b{i}"] = inner

    assert refused(changed(change)) == FEATURE  # a visit to each took ten seconds


def test_arrays_that_together_exceed_the_file_are_refused() -> None:
    def change(file: h5py.File) -> None:
        for i in range(10):  # never written, so they take no room in the file
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
            space = h5py.h5s.create_simple((1000,))
            h5py.h5d.create(file.id, b"x%d" % i, h5py.h5t.STD_U8LE, space, properties)

    data = changed(change)
    assert 1000 < len(data) < 10_000

    assert refused(data) == "E-CONTAINER-TRUNCATED"


def test_an_hdf5_file_of_someone_else_is_told_apart() -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["weights"] = np.ones(3)

    assert refused(buffer.getvalue()) == "E-NOT-FOURIER-FORMAT"


@pytest.mark.parametrize("size", [8, 9, 100, 1000])
def test_a_truncated_file_is_refused(size: int) -> None:
    assert refused(hdf5.encode(minimal.document())[:size]).startswith("E-")


def test_without_h5py_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = fourier_format.to_bytes(minimal.adapter(), "h5")
    monkeypatch.setitem(sys.modules, "h5py", None)

    with pytest.raises(DependencyMissingError, match=r"fourier-format\[h5\]"):
        fourier_format.from_bytes(data)
    with pytest.raises(DependencyMissingError, match=r"fourier-format\[h5\]"):
        fourier_format.to_bytes(minimal.adapter(), "h5")
