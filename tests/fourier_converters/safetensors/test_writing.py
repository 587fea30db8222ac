"""A merged checkpoint is like its base, byte for byte but for what the adapter changes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fourier_converters import copying
from fourier_converters.base.safetensors_file import SafetensorsFile
from fourier_converters.safetensors import to_checkpoint
from fourier_format.containers.safetensors import encode_plain
from fourier_format.errors import (
    FourierFormatError,
    OutputExistsError,
    UnsupportedError,
    UsageError,
)
from tests.fourier_converters.onnx.hub import cached
from tests.fourier_converters.safetensors.setting import (
    QUERY,
    VALUE,
    WEIGHTS,
    digests,
    linear,
    merge,
    read,
    write_base,
    write_shards,
)

FIRST = {n: a for n, a in WEIGHTS.items() if "query" in n}
SECOND = {n: a for n, a in WEIGHTS.items() if "query" not in n}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_base(tmp_path / "base")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_shards(tmp_path / "base", FIRST, SECOND)


def changed_bytes(one: Path, other: Path) -> list[int]:
    a, b = one.read_bytes(), other.read_bytes()
    assert len(a) == len(b)
    return [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]


def test_only_the_ranges_of_changed_tensors_differ(base: Path, tmp_path: Path) -> None:
    merge(linear(QUERY, VALUE), base)

    name = "model.safetensors"
    places = SafetensorsFile(base / name).stored
    query, value = places[f"{QUERY}.weight"], places[f"{VALUE}.weight"]
    different = changed_bytes(base / name, tmp_path / "merged" / name)
    assert different
    assert all(query.start <= i < query.stop or value.start <= i < value.stop for i in different)


def test_the_order_of_tensors_is_whatever_the_base_has(tmp_path: Path) -> None:
    """Not the defined order of a .fft: header and data each in an order of their own."""
    base = write_base(tmp_path / "base")
    names = [f"{VALUE}.weight", f"{QUERY}.weight"]
    header: dict[str, Any] = {"__metadata__": {"b": "1", "a": "2"}}
    data = b"".join(WEIGHTS[name].tobytes() for name in reversed(names))
    header[names[0]] = {"dtype": "F32", "shape": [4, 6], "data_offsets": [144, 240]}
    header[names[1]] = {"shape": [6, 6], "dtype": "F32", "data_offsets": [0, 144]}
    text = json.dumps(header, indent=1).encode()
    (base / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)

    merge(linear(QUERY), base)

    different = changed_bytes(base / "model.safetensors", tmp_path / "merged" / "model.safetensors")
    start = 8 + len(text)
    assert different
    assert all(start <= i < start + 144 for i in different)


def test_shards_keep_their_names_and_the_index_its_bytes(shards: Path, tmp_path: Path) -> None:
    merge(linear(VALUE), shards)

    before, after = digests(shards), digests(tmp_path / "merged")
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == [
        "model-00002-of-00002.safetensors"
    ]


def test_the_base_is_only_read(shards: Path) -> None:
    before = digests(shards)

    merge(linear(QUERY, VALUE, replacements={"classifier.weight": np.ones((2, 6))}), shards)

    assert digests(shards) == before


@pytest.mark.parametrize("kernel", [True, False])
def test_it_is_the_same_with_and_without_the_help_of_the_kernel(
    kernel: bool, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernel:
        monkeypatch.setattr(copying, "_copied_by_kernel", lambda *_: 0)

    merged, _ = merge(linear(QUERY, replacements={"a.weight": np.ones((2, 6))}), shards)

    assert set(merged) == {*WEIGHTS, "a.weight"}
    for name in set(WEIGHTS) - {f"{QUERY}.weight"}:
        assert np.array_equal(merged[name], WEIGHTS[name])


def test_the_other_files_are_copied_and_other_forms_of_the_weights_are_not(
    base: Path, tmp_path: Path
) -> None:
    kept = ["README.md", "vocab.txt", "1_Pooling/config.json", "2_Dense/model.safetensors"]
    left = [
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "consolidated.safetensors",
        "model.onnx",
        "onnx/model.onnx",
        "onnx/model.onnx_data",
        "tf_model.h5",
        "flax_model.msgpack",
    ]
    hidden = [".git/config", ".gitattributes", "sub/.cache/x"]
    for name in [*kept, *left, *hidden]:
        (base / name).parent.mkdir(exist_ok=True, parents=True)
        (base / name).write_text(name)
    (base / "empty").mkdir()

    _, report = merge(linear(QUERY), base)

    expected = {*kept, "config.json", "tokenizer.json", "model.safetensors"}
    assert digests(tmp_path / "merged").keys() == expected
    for name in kept:
        assert (tmp_path / "merged" / name).read_text() == name
    (note,) = report.notes
    assert note == (
        "not copied, because they may hold the base's weights: " + ", ".join(sorted(left))
    )


def test_an_index_that_is_not_the_bases_is_not_copied(shards: Path, tmp_path: Path) -> None:
    one = "model-00001-of-00002.safetensors"

    to_checkpoint(linear(QUERY), shards / one, tmp_path / "merged")

    assert digests(tmp_path / "merged").keys() == {one, "config.json"}


def test_an_index_can_be_given(shards: Path, tmp_path: Path) -> None:
    index = "model.safetensors.index.json"

    to_checkpoint(linear(QUERY), shards / index, tmp_path / "merged")

    assert digests(tmp_path / "merged").keys() == digests(shards).keys()


def test_links_to_files_are_copied_as_files(base: Path, tmp_path: Path) -> None:
    """The cache of the Hugging Face hub holds nothing but links."""
    hub = tmp_path / "hub"
    hub.mkdir()
    for path in base.iterdir():
        (hub / path.name).symlink_to(path)
    (hub / "gone.txt").symlink_to(tmp_path / "gone")
    (hub / "folder").symlink_to(base)

    _, report = merge(linear(QUERY), hub)

    merged = tmp_path / "merged"
    assert digests(merged).keys() == digests(base).keys()
    assert not any(path.is_symlink() for path in merged.iterdir())
    assert report.notes[0].endswith(": folder, gone.txt")


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json"])
def test_of_what_lies_beside_one_file_only_its_companions_are_copied(
    name: str, tmp_path: Path
) -> None:
    """It may lie among downloads."""
    base = write_base(tmp_path / "downloads")
    weight_map = dict.fromkeys(WEIGHTS, "model.safetensors")
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (base / "sub").mkdir()
    for other in ["taxes.pdf", "notes.json", "sub/config.json", "vocab.txt", "spiece.model"]:
        (base / other).write_text(other)

    report = to_checkpoint(linear(QUERY), base / name, tmp_path / "merged")

    companions = {"config.json", "tokenizer.json", "vocab.txt", "spiece.model"}
    assert digests(tmp_path / "merged").keys() == companions | {"model.safetensors", name}
    assert any(f"beside {name} only" in note for note in report.notes)


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "sub/notes.txt"])
def test_a_link_out_of_the_base_is_not_followed(name: str, base: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"secret": 1}')
    (base / name).parent.mkdir(exist_ok=True)
    (base / name).unlink(missing_ok=True)
    (base / name).symlink_to(secret)

    with pytest.raises(UnsupportedError, match="put the file itself in the link's place") as caught:
        merge(linear(QUERY), base)

    assert caught.value.violations[0].where == str(base / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "secret"]


def test_an_index_that_is_a_link_out_of_the_base_is_not_followed(
    shards: Path, tmp_path: Path
) -> None:
    index = shards / "model.safetensors.index.json"
    index.rename(tmp_path / "index")
    index.symlink_to(tmp_path / "index")

    with pytest.raises(UnsupportedError, match="a link out of the base"):
        merge(linear(QUERY), shards)


def test_links_within_the_base_and_of_a_hub_cache_are_followed(tmp_path: Path) -> None:
    snapshot = cached(write_base(tmp_path / "base") / "model.safetensors", tmp_path / "hub").parent
    (snapshot / "vocab.txt").symlink_to("tokenizer.json")

    to_checkpoint(linear(QUERY), snapshot, tmp_path / "merged")

    expected = {"config.json", "tokenizer.json", "vocab.txt", "model.safetensors"}
    assert digests(tmp_path / "merged").keys() == expected


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_pipe_is_not_waited_for(name: str, base: Path, tmp_path: Path) -> None:
    (base / name).unlink()
    os.mkfifo(base / name)

    if name == "tokenizer.json":
        merge(linear(QUERY), base)
        assert not (tmp_path / "merged" / name).exists()
    else:
        with pytest.raises(UnsupportedError, match="no regular file"):
            merge(linear(QUERY), base)


def test_a_device_is_not_read(base: Path) -> None:
    (base / "config.json").unlink()
    (base / "config.json").symlink_to("/dev/null")

    with pytest.raises(UnsupportedError, match="no regular file"):
        merge(linear(QUERY), base)


def test_a_tensor_that_only_the_other_shard_has_is_an_error_without_a_trace(
    shards: Path, tmp_path: Path
) -> None:
    path = shards / "model-00002-of-00002.safetensors"
    path.write_bytes(encode_plain(FIRST, {}))

    with pytest.raises(FourierFormatError, match=r"is in model-00001\S* and in"):
        merge(linear(QUERY), shards)

    assert [p.name for p in tmp_path.iterdir()] == ["base"]


class TestOutput:
    def test_an_existing_directory_is_not_overwritten(self, base: Path, tmp_path: Path) -> None:
        (tmp_path / "merged").mkdir()

        with pytest.raises(OutputExistsError):
            merge(linear(QUERY), base)

    def test_an_older_result_is_replaced_on_request(self, base: Path, tmp_path: Path) -> None:
        merge(linear(VALUE), base)

        tensors, _ = merge(linear(QUERY), base, overwrite=True)

        assert np.array_equal(tensors[f"{VALUE}.weight"], WEIGHTS[f"{VALUE}.weight"])
        assert not np.array_equal(tensors[f"{QUERY}.weight"], WEIGHTS[f"{QUERY}.weight"])
        assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "merged"]

    def test_a_directory_with_other_files_is_never_replaced(
        self, base: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "merged").mkdir()
        (tmp_path / "merged" / "thesis.txt").write_text("years")

        with pytest.raises(OutputExistsError, match=r"thesis\.txt"):
            merge(linear(QUERY), base, overwrite=True)

        assert (tmp_path / "merged" / "thesis.txt").read_text() == "years"

    @pytest.mark.parametrize("place", ["base", "base/merged", "base/sub/merged", "base/../base/x"])
    def test_it_is_never_the_base_nor_in_it(self, place: str, base: Path, tmp_path: Path) -> None:
        before = digests(tmp_path)
        (base / "sub").mkdir()

        with pytest.raises(UsageError, match="only read"):
            to_checkpoint(linear(QUERY), base, tmp_path / place, overwrite=True)

        assert digests(tmp_path) == before

    def test_a_directory_that_holds_the_base_is_never_replaced(
        self, base: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(OutputExistsError):
            to_checkpoint(linear(QUERY), base, tmp_path, overwrite=True)

        assert read(base).keys() == WEIGHTS.keys()

    def test_progress_is_told_each_tensor(self, base: Path) -> None:
        told: list[str] = []

        merge(linear(QUERY, VALUE), base, progress=told.append)

        assert told == [f"{QUERY}.weight", f"{VALUE}.weight"]

    def test_nothing_is_left_when_the_disk_is_full(
        self, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)

        with pytest.raises(FourierFormatError, match="No space left on device"):
            merge(linear(QUERY), base)

        assert [p.name for p in tmp_path.iterdir()] == ["base"]

    def test_nothing_is_left_after_ctrl_c(self, base: Path, tmp_path: Path) -> None:
        def interrupt(_: str) -> None:
            assert len(list(tmp_path.iterdir())) == 2
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            merge(linear(QUERY), base, progress=interrupt)

        assert [p.name for p in tmp_path.iterdir()] == ["base"]
