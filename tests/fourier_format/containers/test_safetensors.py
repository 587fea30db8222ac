"""A .fft is a safetensors file in one byte order (spec, clauses 4.1 to 4.3)."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings

import fourier_format
from fourier_format import Adapter, manifest
from fourier_format.containers.safetensors import decode, encode
from fourier_format.document import Document
from fourier_format.dtypes import DTYPES
from fourier_format.errors import InvalidAdapterError
from tests.fourier_format import minimal, samples
from tests.fourier_format.minimal import Fields, Tensors
from tests.strategies import adapters

DESERIALIZE: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = safetensors.deserialize


def header_of(data: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header


def with_header(data: bytes, header: dict[str, Any] | str) -> bytes:
    """Return the file with another header, padded and measured as it must be."""
    length = int.from_bytes(data[:8], "little")
    compact = (",", ":")
    text = (
        header
        if isinstance(header, str)
        else json.dumps(header, ensure_ascii=False, separators=compact)
    )
    encoded = text.encode() + b" " * (-len(text.encode()) % 8)
    return struct.pack("<Q", len(encoded)) + encoded + data[8 + length :]


def refused(data: bytes) -> str:
    with pytest.raises(InvalidAdapterError) as caught:
        decode(data, "a.fft")
    assert caught.value.violations[0].where.startswith("a.fft")
    return caught.value.code


def test_the_safetensors_library_reads_every_number_of_our_files(tmp_path: Path) -> None:
    adapter = samples.adapter()
    path = tmp_path / "adapter.fft"
    fourier_format.save(adapter, path)
    expected = manifest.to_document(adapter)

    with safetensors.safe_open(path, framework="np") as file:
        metadata, names = file.metadata(), set(file.keys())
        plain = [name for name in names if expected.tensors[name].dtype != ml_dtypes.bfloat16]
        arrays = {name: file.get_tensor(name) for name in plain}

    assert metadata == {
        "fourier_format": expected.manifest,
        "fourier_format_sha256": expected.digest(),
    }
    assert names == set(expected.tensors)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected.tensors[name], strict=True)


def test_the_safetensors_library_reads_our_bfloat16_bits() -> None:
    data = fourier_format.to_bytes(samples.adapter())
    expected = samples.adapter().entry_sets[1].coefficients

    (found,) = [part for name, part in DESERIALIZE(data) if part["dtype"] == "BF16"]

    assert found["shape"] == list(expected.shape)
    assert bytes(found["data"]) == expected.tobytes()


@settings(max_examples=30)
@given(adapters())
def test_the_safetensors_library_opens_every_valid_adapter(adapter: Adapter) -> None:
    data = fourier_format.to_bytes(adapter)
    expected = manifest.to_document(adapter).tensors

    found = dict(DESERIALIZE(data))

    assert {name: bytes(part["data"]) for name, part in found.items()} == {
        name: array.tobytes() for name, array in expected.items()
    }


@settings(max_examples=50)
@given(adapters())
def test_every_file_is_in_the_canonical_order(adapter: Adapter) -> None:
    data = fourier_format.to_bytes(adapter)

    header = header_of(data)
    names = [name for name in header if name != "__metadata__"]
    tensors = manifest.to_document(adapter).tensors

    assert next(iter(header)) == "__metadata__"
    assert list(header["__metadata__"]) == ["fourier_format", "fourier_format_sha256"]
    assert names == sorted(names, key=lambda n: (-tensors[n].dtype.itemsize, n.encode()))
    assert all(list(header[n]) == ["dtype", "shape", "data_offsets"] for n in names)
    assert int.from_bytes(data[:8], "little") % 8 == 0
    assert with_header(data, header) == data


def test_equal_adapters_give_equal_bytes_whatever_the_order_of_their_tensors() -> None:
    document = manifest.to_document(samples.adapter())
    turned = Document(
        document.manifest,
        {name: document.tensors[name] for name in reversed(list(document.tensors))},
    )

    assert encode(turned) == encode(document)


def test_arrays_in_memory_may_be_big_endian_or_strided() -> None:
    plain = np.arange(6, dtype="<f4").reshape(2, 3)

    def put(array: Any) -> bytes:
        def edit(fields: Fields, tensors: Tensors) -> None:
            fields["replacements"] = ["w"]
            tensors["replacements/w"] = array

        return minimal.fft(edit)

    assert put(plain.astype(">f4")) == put(plain)
    assert put(np.asfortranarray(plain)) == put(plain)
    assert put(np.repeat(plain, 2, axis=1)[:, ::2]) == put(plain)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_every_dtype_of_the_format_comes_back_bit_for_bit(dtype: str) -> None:
    values = np.array([[0, 1, 2], [3, 1, 0]]).astype(DTYPES[dtype])

    def edit(fields: Fields, tensors: Tensors) -> None:
        fields["replacements"] = ["w"]
        tensors["replacements/w"] = values

    found = decode(minimal.fft(edit), "test").tensors["replacements/w"]

    assert found.dtype == values.dtype
    assert found.tobytes() == values.tobytes()


def test_the_digest_is_what_the_specification_says() -> None:
    document = minimal.document()

    def sha256(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    entries, coefficients = minimal.tensors().values()
    text = (
        "fourier-format digest 1\n"
        f"manifest\t{sha256(document.manifest.encode())}\n"
        f"tensor\tcoefficients/4x6\tF32\t1,3\t{sha256(coefficients.tobytes())}\n"
        f"tensor\tentries/4x6\tI32\t3,2\t{sha256(entries.tobytes())}\n"
    )

    assert document.digest() == sha256(text.encode())


def test_a_scalars_line_in_the_digest_has_no_dimensions() -> None:
    document = Document("{}", {"a": np.array(1, np.uint8)})
    line = f"tensor\ta\tU8\t\t{hashlib.sha256(bytes([1])).hexdigest()}\n"
    manifest_line = f"manifest\t{hashlib.sha256(b'{}').hexdigest()}\n"
    text = f"fourier-format digest 1\n{manifest_line}{line}"

    assert document.digest() == hashlib.sha256(text.encode()).hexdigest()


DATA = minimal.fft()
HEADER = header_of(DATA)
COEFFICIENTS, ENTRIES = HEADER["coefficients/4x6"], HEADER["entries/4x6"]


def header_with(**tensors: Any) -> bytes:
    renamed = {name.replace("__", "/"): value for name, value in tensors.items()}
    return with_header(DATA, HEADER | renamed)


def metadata_with(**fields: Any) -> bytes:
    return with_header(DATA, HEADER | {"__metadata__": HEADER["__metadata__"] | fields})


def reordered(*names: str) -> bytes:
    return with_header(DATA, {name: HEADER[name] for name in names})


TEXT = DATA[8 : 8 + int.from_bytes(DATA[:8], "little")].decode().rstrip(" ")
STATED = HEADER["__metadata__"]["fourier_format_sha256"]
COEFFICIENTS_4X6 = "coefficients__4x6"

BROKEN = {
    "empty": (b"", "E-CONTAINER-TRUNCATED"),
    "seven bytes": (DATA[:7], "E-CONTAINER-TRUNCATED"),
    "inside the header": (DATA[:100], "E-CONTAINER-TRUNCATED"),
    "inside a tensor": (DATA[:-1], "E-CONTAINER-TRUNCATED"),
    "one byte more": (DATA + b"\0", "E-CONTAINER-OFFSETS"),
    "a header of terabytes": (struct.pack("<Q", 2**42) + DATA[8:], "E-CONTAINER-HEADER"),
    "a header of 2^64 - 1 bytes": (b"\xff" * 8 + DATA[8:], "E-CONTAINER-HEADER"),
    "a header that is not UTF-8": (DATA[:9] + b"\xff" + DATA[10:], "E-CONTAINER-HEADER"),
    "a header that is a list": (with_header(DATA, "[]"), "E-CONTAINER-HEADER"),
    "a header that is not JSON": (with_header(DATA, "{"), "E-JSON-SYNTAX"),
    "a key twice": (with_header(DATA, TEXT[:-1] + ',"x":1,"x":1}'), "E-JSON-DUPLICATE-KEY"),
    "no metadata": (reordered("coefficients/4x6", "entries/4x6"), "E-NOT-FOURIER-FORMAT"),
    "metadata of PEFT": (
        with_header(DATA, HEADER | {"__metadata__": {"format": "pt"}}),
        "E-NOT-FOURIER-FORMAT",
    ),
    "metadata with more": (metadata_with(format="pt"), "E-CONTAINER-HEADER"),
    "metadata that is no text": (metadata_with(fourier_format=1), "E-CONTAINER-HEADER"),
    "a tensor that is a number": (header_with(coefficients__4x6=1), "E-CONTAINER-HEADER"),
    "a tensor entry with more": (
        header_with(coefficients__4x6=COEFFICIENTS | {"x": 1}),
        "E-CONTAINER-HEADER",
    ),
    "an unknown dtype": (
        header_with(coefficients__4x6=COEFFICIENTS | {"dtype": "F8_E4M3"}),
        "E-CONTAINER-DTYPE",
    ),
    "a dtype that is a list": (
        header_with(coefficients__4x6=COEFFICIENTS | {"dtype": []}),
        "E-CONTAINER-DTYPE",
    ),
    "a negative dimension": (
        header_with(coefficients__4x6=COEFFICIENTS | {"shape": [-1, -3]}),
        "E-CONTAINER-HEADER",
    ),
    "a dimension that is true": (
        header_with(coefficients__4x6=COEFFICIENTS | {"shape": [True, 3]}),
        "E-CONTAINER-HEADER",
    ),
    "a dimension that is zero": (
        header_with(coefficients__4x6={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}),
        "E-LIMIT",
    ),
    "a dimension of 2^31": (
        header_with(coefficients__4x6=COEFFICIENTS | {"shape": [2**31]}),
        "E-LIMIT",
    ),
    "nine axes": (
        header_with(coefficients__4x6=COEFFICIENTS | {"shape": [1] * 8 + [3]}),
        "E-LIMIT",
    ),
    "a product beyond 2^64": (
        header_with(coefficients__4x6=COEFFICIENTS | {"shape": [2**31 - 1] * 8}),
        "E-CONTAINER-OFFSETS",
    ),
    "offsets of three numbers": (
        header_with(coefficients__4x6=COEFFICIENTS | {"data_offsets": [0, 4, 12]}),
        "E-CONTAINER-HEADER",
    ),
    "offsets that run backwards": (
        header_with(coefficients__4x6=COEFFICIENTS | {"data_offsets": [12, 0]}),
        "E-CONTAINER-OFFSETS",
    ),
    "offsets that overlap": (
        header_with(entries__4x6=ENTRIES | {"data_offsets": [0, 24]}),
        "E-CONTAINER-OFFSETS",
    ),
    "offsets with a hole": (
        header_with(entries__4x6=ENTRIES | {"data_offsets": [16, 40]}),
        "E-CONTAINER-OFFSETS",
    ),
    "tensors in another order": (
        reordered("__metadata__", "entries/4x6", "coefficients/4x6"),
        "E-CONTAINER-OFFSETS",
    ),
    "metadata after the tensors": (
        reordered("coefficients/4x6", "entries/4x6", "__metadata__"),
        "E-CONTAINER-CANONICAL",
    ),
    "metadata turned round": (
        with_header(
            DATA, HEADER | {"__metadata__": dict(reversed(HEADER["__metadata__"].items()))}
        ),
        "E-CONTAINER-CANONICAL",
    ),
    "a space between tokens": (
        with_header(DATA, TEXT.replace('":{', '": {', 1)),
        "E-CONTAINER-CANONICAL",
    ),
    "a needless escape": (
        with_header(DATA, TEXT.replace("entries/4x6", "entries\\/4x6")),
        "E-CONTAINER-CANONICAL",
    ),
    "eight spaces too many": (with_header(DATA, TEXT + " " * 16), "E-CONTAINER-CANONICAL"),
    "line feeds for spaces": (
        with_header(DATA, TEXT + "\n" * (-len(TEXT.encode()) % 8 or 8)),
        "E-CONTAINER-CANONICAL",
    ),
    "a digest in capitals": (metadata_with(fourier_format_sha256=STATED.upper()), "E-DIGEST"),
    "a digest cut short": (metadata_with(fourier_format_sha256=STATED[:63]), "E-DIGEST"),
    "no digest's text": (metadata_with(fourier_format_sha256=""), "E-DIGEST"),
    "another manifest": (metadata_with(fourier_format="{}"), "E-DIGEST"),
}


@pytest.mark.parametrize(("data", "code"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_container_has_one_code(data: bytes, code: str) -> None:
    assert refused(data) == code


def test_tensors_of_one_width_in_another_order_are_not_canonical() -> None:
    document = minimal.document()
    names = ["entries/4x6", "coefficients/4x6"]
    header: dict[str, Any] = {"__metadata__": HEADER["__metadata__"]}
    data, position = b"", 0
    for name in names:
        raw = document.tensors[name].tobytes()
        offsets = [position, position + len(raw)]
        header[name] = HEADER[name] | {"data_offsets": offsets}
        data, position = data + raw, position + len(raw)
    length = int.from_bytes(DATA[:8], "little")

    assert refused(with_header(DATA[: 8 + length] + data, header)) == "E-CONTAINER-CANONICAL"


def test_a_manifest_may_have_any_spaces_since_the_digest_holds_it() -> None:
    document = minimal.document()
    spaced = Document(json.dumps(json.loads(document.manifest), indent=2), document.tensors)

    loaded = fourier_format.from_bytes(encode(spaced))

    assert loaded.targets == minimal.adapter().targets


def test_a_peft_checkpoint_is_told_how_it_is_converted() -> None:
    data = safetensors.numpy.save({"x.fourierft_spectrum": np.ones(3, np.float32)})

    with pytest.raises(InvalidAdapterError, match="fourier-convert") as caught:
        fourier_format.from_bytes(data)

    assert caught.value.code == "E-NOT-FOURIER-FORMAT"
