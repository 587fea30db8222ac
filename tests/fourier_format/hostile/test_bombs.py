"""Small files that ask for much: each is refused at the price of its own size."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fourier_format
from fourier_format import strict_json, validation
from fourier_format.containers import safetensors
from fourier_format.document import Document
from fourier_format.errors import InvalidAdapterError
from fourier_format.limits import MAX_VIOLATIONS
from tests.fourier_format import minimal
from tests.fourier_format.minimal import set_in


def header(text: str, stated: int | None = None, data: bytes = b"") -> bytes:
    """Return a file with this header."""
    encoded = text.encode()
    return struct.pack("<Q", len(encoded) if stated is None else stated) + encoded + data


def with_tensor(shape: list[int], end: int) -> bytes:
    metadata = '{"fourier_format":"{}","fourier_format_sha256":""}'
    entry = f'{{"dtype":"F64","shape":{shape},"data_offsets":[0,{end}]}}'
    return header(f'{{"__metadata__":{metadata},"entries/a":{entry}}}', data=b"\0" * 64)


def with_manifest(text: str) -> bytes:
    return safetensors.encode(Document(text, minimal.tensors()))


def declared(place: str, value: object) -> bytes:
    """Return a sound container whose manifest claims more than its tensors hold."""
    return minimal.fft(set_in(place, value))


BOMBS: dict[str, Callable[[], bytes]] = {
    "a header of terabytes": lambda: header("{}", 2**42),
    "a header of 2^64 - 1 bytes": lambda: header("{}", 2**64 - 1),
    "a header just below the limit": lambda: header("{}", 99_999_999),
    "a tensor of terabytes": lambda: with_tensor([2**20, 2**20], 2**43),
    "a tensor whose size overflows 64 bits": lambda: with_tensor([2**31 - 1] * 8, 64),
    "a tensor whose size is a multiple of 2^64": lambda: with_tensor([2**30, 2**30, 16], 64),
    "an open string of escaped quotes": lambda: header('"' + '\\"' * 500_000),
    "open strings in the manifest": lambda: with_manifest('"\\' * 100_000),
    "a million brackets": lambda: header("[" * 1_000_000),
    "a million brackets in the manifest": lambda: with_manifest('{"a":' * 1_000_000),
    "a number of a million digits": lambda: with_manifest('{"alpha":' + "9" * 1_000_000 + "}"),
    "a fraction of a million digits": lambda: with_manifest("1." + "1" * 1_000_000),
    "an exponent of a million digits": lambda: with_manifest("1e" + "9" * 1_000_000),
    "a seed of a million digits": lambda: declared("seed", "9" * 1_000_000),
    "a name of a million characters": lambda: declared("targets.0.name", "x" * 1_000_000),
    "a version of a million digits": lambda: declared("version", "1." + "9" * 1_000_000),
    "a hundred thousand targets": lambda: declared("targets", [{}] * 100_000),
    "sixty thousand empty targets": lambda: declared("targets", [{}] * 60_000),
    "three hundred thousand unknown fields": lambda: with_manifest(
        strict_json.dumps(minimal.FIELDS | {str(i): 1 for i in range(300_000)})
    ),
    "twenty thousand targets of a set that is not there": lambda: declared(
        "targets", [minimal.FIELDS["targets"][0] | {"entries": "b"}] * 20_000
    ),
    "a count of two billion": lambda: declared("entries.0.count", 2**31 - 1),
    "a shape of two billion squared": lambda: declared("entries.0.shape", [2**31 - 1] * 2),
    "one key two hundred thousand times": lambda: with_manifest(
        "{" + ",".join(['"a":1'] * 200_000) + "}"
    ),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_costs_its_own_size(bomb: Callable[[], bytes]) -> None:
    data = bomb()

    tracemalloc.start()
    with pytest.raises(InvalidAdapterError) as caught:
        fourier_format.from_bytes(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 5_000_000 + 50 * len(data)
    assert len(caught.value.violations) <= MAX_VIOLATIONS
    assert len(str(caught.value.violations[0])) < 1000


@pytest.mark.parametrize(
    "text",
    ['"' + '\\"' * 500_000, "\\" * 500_000, '"\\' * 100_000, '"a"' * 300_000, "{" * 500_000],
    ids=["open string", "backslashes", "quotes and backslashes", "strings", "braces"],
)
def test_strict_json_comes_to_an_end(text: str) -> None:
    """An open string once took the square of its length: these would take hours."""
    with pytest.raises(InvalidAdapterError):
        strict_json.loads(text, "bomb")


def test_the_message_about_a_hostile_file_is_short_and_printable() -> None:
    hostile = "\x1b[2J\u202e" + "x" * 100_000
    broken = [
        declared("targets.0.kind", hostile),
        declared("targets.0.entries", hostile),
        declared(hostile.replace(".", ""), 1),
        with_manifest(f'{{"{hostile[2:]}":1,"{hostile[2:]}":2}}'),
        header(strict_json.dumps({"__metadata__": {"fourier_format": ""}, hostile: 1})),
    ]

    for data in broken:
        with pytest.raises(InvalidAdapterError) as caught:
            fourier_format.from_bytes(data)
        for violation in caught.value.violations:
            assert str(violation).isprintable()


def test_a_valid_file_whose_delta_weight_would_be_huge_is_loaded_without_computing_it() -> None:
    side = 2**31 - 1

    def edit(fields: minimal.Fields, tensors: minimal.Tensors) -> None:
        fields["entries"][0]["shape"] = fields["targets"][0]["shape"] = [side, side]
        tensors["entries/4x6"] = np.array([[side - 1, 0], [0, side - 1], [1, 1]], np.int32)

    adapter = fourier_format.from_bytes(minimal.fft(edit))

    assert adapter.targets[0].shape == (side, side)


def with_recipes(count: int, side: int, recipe: dict[str, object]) -> minimal.Edit:
    """Returns the edit to many sets, each of one target and one entry drawn by `recipe`."""

    def edit(fields: minimal.Fields, tensors: minimal.Tensors) -> None:
        ids, shape = [f"s{k}" for k in range(count)], [side, side]
        one = {"shape": shape, "count": 1, "sampling": recipe}
        fields["seed"] = 1
        fields["entries"] = [{"id": id_, **one} for id_ in ids]
        fields["targets"] = [
            {"name": id_, "kind": "linear", "shape": shape, "entries": id_, "row": 0} for id_ in ids
        ]
        tensors.clear()
        for id_ in ids:
            tensors[f"entries/{id_}"] = np.zeros((1, 2), np.int32)
            tensors[f"coefficients/{id_}"] = np.zeros((1, 1), np.float32)

    return edit


THIN = {"centre": 1e6, "width": 1.0}
ENDLESS: dict[str, tuple[int, dict[str, object]]] = {
    "shuffles of as many weights as one may have": (
        2**16,
        {"method": "torch-randperm", "generator": "mt19937-io64"},
    ),
    "shuffles of more weights than one may have": (
        2**31 - 1,
        {"method": "torch-randperm", "generator": "mt19937-io64"},
    ),
    "bands that hold no cell": (
        64,
        {"method": "band-pass", "generator": "splitmix64-rejection", "parameters": THIN},
    ),
}


@pytest.mark.parametrize(("side", "recipe"), ENDLESS.values(), ids=ENDLESS.keys())
def test_recipes_that_would_take_hours_are_left_out_by_the_validator_with_a_note(
    side: int, recipe: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "MAX_REDRAWING_STEPS", 2**20)
    (tmp_path / "a.fft").write_bytes(minimal.fft(with_recipes(500, side, recipe)))

    report = validation.validate(tmp_path / "a.fft")

    assert report.valid
    (note,) = report.notes
    assert note.startswith("entries/s0 and 499 more: drawing all recipes takes too long")


def test_the_validator_draws_for_a_file_until_its_budget_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "MAX_REDRAWING_STEPS", 3 * 64**2)
    recipe = {"method": "torch-randperm", "generator": "mt19937-io64", "seed": 1}
    (tmp_path / "a.fft").write_bytes(minimal.fft(with_recipes(10, 64, recipe)))

    report = validation.validate(tmp_path / "a.fft")

    assert [v.where for v in report.violations] == ["entries/s0", "entries/s1", "entries/s2"]
    assert report.notes == (
        "entries/s3 and 6 more: drawing all recipes takes too long; not re-drawn",
    )
