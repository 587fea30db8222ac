"""Reading safetensors where they lie: every broken file is one clear error."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fourier_converters.base.safetensors_file import SafetensorsFile, Stored
from fourier_format.containers.safetensors import encode_plain
from fourier_format.errors import FileAccessError, FourierFormatError, UnsupportedError
from tests.fourier_converters.graphs import weight


def write(path: Path, header: Any, data: bytes = bytes(16)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(**changed: Any) -> dict[str, Any]:
    return {"t": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]} | changed}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, ml_dtypes.bfloat16])
def test_a_tensor_is_a_read_only_view_of_the_file(dtype: Any, tmp_path: Path) -> None:
    stored = weight(dtype=dtype)
    (tmp_path / "x").write_bytes(encode_plain({"a": np.ones(3, np.int8), "t": stored}, {"k": "v"}))

    file = SafetensorsFile(tmp_path / "x")

    assert sorted(file.names) == ["a", "t"]
    assert file.tensor("t").dtype == dtype
    assert np.array_equal(file.tensor("t"), stored)
    assert not file.tensor("t").flags.writeable


def test_an_empty_tensor_at_the_end_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(encode_plain({"t": np.zeros((0, 4), np.float32)}, {}))

    assert SafetensorsFile(tmp_path / "x").tensor("t").shape == (0, 4)


def test_a_tensor_need_not_be_aligned(tmp_path: Path) -> None:
    header = {"t": {"dtype": "F32", "shape": [1], "data_offsets": [1, 5]}}
    path = write(tmp_path / "x", header, b"\0" + struct.pack("<f", 2.5))

    assert SafetensorsFile(path).tensor("t").tolist() == [2.5]


@pytest.mark.parametrize("length", range(0, 120, 7))
def test_a_truncated_file_is_refused(length: int, tmp_path: Path) -> None:
    whole = encode_plain({"t": weight()}, {})
    (tmp_path / "x").write_bytes(whole[: min(length, len(whole) - 1)])

    with pytest.raises(UnsupportedError, match="not a safetensors file"):
        SafetensorsFile(tmp_path / "x").tensor("t")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"{",
        b'{"t": {}, "t": {}}',
        b"\xff\xff",
        {"t": 3},
        {"t": []},
        {"t": {}},
        entry(dtype="F7"),
        entry(dtype=[]),
        entry(dtype=None),
        entry(shape=None),
        entry(shape=4),
        entry(shape=["x"]),
        entry(shape=[2, 3]),
        entry(shape=[-2, -2]),
        entry(shape=[2**40, 2**40]),
        entry(shape=[[2], 2]),
        entry(data_offsets=[0]),
        entry(data_offsets=[0, 16, 16]),
        entry(data_offsets=[-16, 0]),
        entry(data_offsets=[16, 0]),
        entry(data_offsets=[16, 32]),
        entry(data_offsets=["a", "b"]),
        entry(data_offsets=None),
    ],
    ids=str,
)
def test_a_broken_header_is_one_error(header: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "x", header)

    with pytest.raises(FourierFormatError, match=r"/x") as caught:
        SafetensorsFile(path).tensor("t")

    assert len(caught.value.violations) == 1


def two(first: tuple[int, int], second: tuple[int, int]) -> dict[str, Any]:
    return {
        name: {"dtype": "U8", "shape": [stop - start], "data_offsets": [start, stop]}
        for name, (start, stop) in (("a", first), ("b", second))
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [((0, 8), (7, 9)), ((7, 9), (0, 8)), ((0, 16), (2, 3)), ((2, 3), (0, 16)), ((4, 8), (4, 8))],
)
def test_tensors_that_overlap_are_refused(
    first: tuple[int, int], second: tuple[int, int], tmp_path: Path
) -> None:
    """What is written over the one would change the other."""
    path = write(tmp_path / "x", two(first, second))

    with pytest.raises(UnsupportedError, match=r"'[ab]' and '[ab]' overlap"):
        SafetensorsFile(path)


@pytest.mark.parametrize("second", [(8, 16), (9, 16), (8, 8), (3, 3), (0, 0)])
def test_neighbours_holes_and_empty_tensors_do_not_overlap(
    second: tuple[int, int], tmp_path: Path
) -> None:
    path = write(tmp_path / "x", two((0, 8), second))

    assert SafetensorsFile(path).names == ["a", "b"]


def test_a_tensor_of_an_unknown_dtype_has_a_place_and_no_values(tmp_path: Path) -> None:
    path = write(tmp_path / "x", entry(dtype="F8_E4M3") | {"__metadata__": {"format": "pt"}})

    file = SafetensorsFile(path)

    data = path.stat().st_size - 16
    assert file.stored["t"] == Stored("F8_E4M3", (2, 2), data, data + 16)
    assert file.metadata == {"format": "pt"}
    with pytest.raises(UnsupportedError, match="has the dtype 'F8_E4M3', which is not supported"):
        file.tensor("t")


def test_metadata_that_is_no_object_does_no_harm(tmp_path: Path) -> None:
    path = write(tmp_path / "x", entry() | {"__metadata__": 3})

    assert SafetensorsFile(path).tensor("t").shape == (2, 2)


def test_a_header_of_an_absurd_length_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(struct.pack("<Q", 2**63) + bytes(100))

    with pytest.raises(UnsupportedError, match="its header goes beyond its end"):
        SafetensorsFile(tmp_path / "x")


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_cannot_be_opened_is_trouble_with_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="cannot read the file"):
        SafetensorsFile(tmp_path / name)
