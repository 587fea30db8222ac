"""Results are whole or absent, and all that has not changed is as it was."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from fourier_converters.keras import to_keras, writing
from fourier_format.adapter import Array
from fourier_format.dtypes import BFLOAT16, round_once
from fourier_format.errors import OutputExistsError, UnsupportedError, UsageError
from tests.fourier_converters.adapters import delta
from tests.fourier_converters.keras.setting import (
    DOWN,
    HEAD,
    UP,
    dense,
    merge,
    read,
    write_archive,
    write_weights,
)

WHOLE = dense({"block/up": UP, "block/down": DOWN})
MORE = {"assets/layers/text/vocabulary.txt": b"a\nb\n", "assets/empty": b""}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archives_other_members_are_as_they_were(compression: int, tmp_path: Path) -> None:
    base = write_archive(tmp_path / "m.keras", compression=compression, more=MORE)

    merged, _ = merge(WHOLE, base)

    with zipfile.ZipFile(base) as before, zipfile.ZipFile(tmp_path / "merged.m.keras") as after:
        assert after.testzip() is None
        assert after.namelist() == before.namelist()
        others = [name for name in before.namelist() if name != "model.weights.h5"]
        assert [after.read(name) for name in others] == [before.read(name) for name in others]
        kinds = [(m.compress_type, m.date_time, m.file_size) for m in before.infolist()]
        assert [(m.compress_type, m.date_time, m.file_size) for m in after.infolist()] == kinds
    assert not np.array_equal(merged["layers/block/up_dense/vars/0"], UP)


def test_the_same_bytes_but_for_the_changed_variables(tmp_path: Path) -> None:
    base = write_weights(tmp_path / "m.weights.h5")

    merged, _ = merge(WHOLE, base)

    before, after = base.read_bytes(), (tmp_path / "merged.m.weights.h5").read_bytes()
    changed = sum(a != b for a, b in zip(before, after, strict=True))
    assert 0 < changed <= UP.nbytes + DOWN.nbytes
    unchanged = {name: values for name, values in read(base).items() if "_dense/vars/0" not in name}
    assert all(np.array_equal(merged[name], values) for name, values in unchanged.items())


def test_the_base_is_only_read(tmp_path: Path) -> None:
    base = write_archive(tmp_path / "m.keras")
    digest = hashlib.sha256(base.read_bytes()).digest()

    merge(WHOLE, base)

    assert hashlib.sha256(base.read_bytes()).digest() == digest


@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BFLOAT16])
def test_half_precision_is_added_in_float64_and_rounded_once(
    dtype: np.dtype[np.generic], tmp_path: Path
) -> None:
    kernel: Array = UP.astype(dtype)
    base = write_weights(tmp_path / "m.weights.h5", {"layers/dense": ("d", [kernel])})
    whole = dense({"d": kernel})

    merged, _ = merge(whole, base)

    wide = kernel.astype(np.float64) + delta(whole, "d").T
    name = "BF16" if dtype == BFLOAT16 else "F16"
    assert np.array_equal(merged["layers/dense/vars/0"], round_once(wide, name))
    with h5py.File(tmp_path / "merged.m.weights.h5") as file:
        stored = file["layers/dense/vars/0"]
        assert stored.attrs.get("dtype") == ("bfloat16" if dtype == BFLOAT16 else None)


def test_a_sum_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    kernel = np.full((6, 8), 60000, np.float16)
    base = write_weights(tmp_path / "m.weights.h5", {"layers/dense": ("d", [kernel])})
    whole = dense({"d": kernel}, alpha=1e6)

    with pytest.raises(UnsupportedError, match="E-NUMBER-NONFINITE"):
        merge(whole, base)

    assert [path.name for path in tmp_path.iterdir()] == ["m.weights.h5"]


class TestShards:
    def test_each_is_written_and_the_index_names_them(self, tmp_path: Path) -> None:
        index = write_shards(tmp_path / "base")
        output = tmp_path / "new" / "merged.weights.json"
        output.parent.mkdir()

        to_keras(WHOLE, index, output)

        names = sorted(path.name for path in output.parent.iterdir())
        assert names == [
            "merged.weights.json",
            "merged_00000.weights.h5",
            "merged_00001.weights.h5",
        ]
        content = json.loads(output.read_text())
        assert content["weight_map"]["/layers/block/down_dense/vars"] == ["merged_00001.weights.h5"]
        assert not np.array_equal(read(output)["layers/block/down_dense/vars/0"], DOWN)

    def test_none_is_left_where_one_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        index = write_shards(tmp_path / "base")
        output = tmp_path / "new" / "merged.weights.json"
        output.parent.mkdir()
        calls = list[int]()

        def failing(*arguments: object) -> None:
            calls.append(1)
            if len(calls) == 2:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(writing, "_write_over", failing)
        with pytest.raises(OSError, match="No space"):
            to_keras(WHOLE, index, output)

        assert list(output.parent.iterdir()) == []

    @pytest.mark.parametrize("overwrite", [True, False])
    @pytest.mark.parametrize("after", range(6))
    def test_ctrl_c_leaves_what_was_there(
        self, after: int, overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        index, output = write_shards(tmp_path / "base"), tmp_path / "new" / "m.weights.json"
        output.parent.mkdir()
        if overwrite:
            to_keras(WHOLE, index, output)
        before = {path.name: path.read_bytes() for path in output.parent.iterdir()}
        calls = list[int]()

        def interrupted(_: int) -> None:
            calls.append(1)
            if len(calls) > after:
                raise KeyboardInterrupt

        monkeypatch.setattr("os.fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            to_keras(dense({"block/up": UP}), index, output, overwrite=overwrite)

        assert {path.name: path.read_bytes() for path in output.parent.iterdir()} == before

    def test_a_shard_that_is_there_is_not_overwritten(self, tmp_path: Path) -> None:
        index = write_shards(tmp_path / "base")
        (tmp_path / "merged_00001.weights.h5").write_bytes(b"mine")

        with pytest.raises(OutputExistsError, match="merged_00001"):
            to_keras(WHOLE, index, tmp_path / "merged.weights.json")

        assert (tmp_path / "merged_00001.weights.h5").read_bytes() == b"mine"

    def test_the_bases_shards_are_not_written_over(self, tmp_path: Path) -> None:
        index = write_shards(tmp_path / "base")

        with pytest.raises(UsageError, match="only read"):
            to_keras(WHOLE, index, index.with_name("m.weights.json"), overwrite=True)

    def test_an_index_must_be_called_as_keras_calls_it(self, tmp_path: Path) -> None:
        index = write_shards(tmp_path / "base")

        with pytest.raises(UsageError, match=r"ends with \.weights\.json"):
            to_keras(WHOLE, index, tmp_path / "merged.h5")

    @pytest.mark.parametrize("name", ["../m.h5", "/etc/passwd", "..", "a/b.h5"])
    def test_a_shard_elsewhere_is_an_error(self, name: str, tmp_path: Path) -> None:
        index = tmp_path / "m.weights.json"
        index.write_text(json.dumps({"weight_map": {"/layers/dense/vars": [name]}}))

        with pytest.raises(UnsupportedError, match="outside the index's directory"):
            merge(WHOLE, index)

    @pytest.mark.parametrize("text", ["", "[]", '{"weight_map": {}}', '{"weight_map": {"a": 1}}'])
    def test_another_json_is_no_index(self, text: str, tmp_path: Path) -> None:
        index = tmp_path / "m.weights.json"
        index.write_text(text)

        with pytest.raises(UnsupportedError, match="E-BASE-UNSUPPORTED"):
            merge(WHOLE, index)


def test_nothing_is_written_in_a_dry_run(tmp_path: Path) -> None:
    base = write_archive(tmp_path / "m.keras")

    report = to_keras(WHOLE, base, tmp_path / "merged.keras", dry_run=True)

    assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]
    assert all(row.relative_change for row in report.rows)


def test_an_output_that_is_there_stays(tmp_path: Path) -> None:
    base = write_archive(tmp_path / "m.keras")
    (tmp_path / "merged.m.keras").write_bytes(b"mine")

    with pytest.raises(OutputExistsError):
        merge(WHOLE, base)
    assert (tmp_path / "merged.m.keras").read_bytes() == b"mine"
    merge(WHOLE, base, overwrite=True)

    assert zipfile.is_zipfile(tmp_path / "merged.m.keras")


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("m.keras", "merged.weights.h5"),
        ("m.keras", "merged"),
        ("m.weights.h5", "merged.keras"),
        ("m.weights.h5", "merged.h5"),
        ("m.h5", "merged.weights.h5"),
    ],
)
def test_a_name_that_keras_would_read_otherwise_is_refused(
    name: str, output: str, dry_run: bool, tmp_path: Path
) -> None:
    write = write_archive if name.endswith(".keras") else write_weights
    base = write(tmp_path / name)
    suffix = name.removeprefix("m")

    with pytest.raises(UsageError, match=f"ends with {suffix}.*, such as merged{suffix}"):
        to_keras(WHOLE, base, tmp_path / output, dry_run=dry_run)

    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_base_is_never_the_output(tmp_path: Path) -> None:
    base = write_archive(tmp_path / "m.keras")

    with pytest.raises(UsageError, match="only read"):
        to_keras(WHOLE, base, base, overwrite=True)


def test_whole_weights_are_compared_where_that_is_asked(tmp_path: Path) -> None:
    _, report = merge(WHOLE, write_archive(tmp_path / "m.keras"), verify_full=True)

    assert report.notes == ()


def write_shards(folder: Path) -> Path:
    """Write the block's layers into two shards, with their index."""
    folder.mkdir()
    up, down = "layers/block/up_dense", "layers/block/down_dense"
    write_weights(
        folder / "m_00000.weights.h5",
        {"layers/block": ("block", []), up: ("up", [UP, UP[0]]), "layers/d": ("d", [HEAD])},
    )
    write_weights(folder / "m_00001.weights.h5", {down: ("down", [DOWN])})
    index = folder / "m.weights.json"
    weight_map = {
        f"/{up}/vars": "m_00000.weights.h5",
        f"/{down}/vars": ["m_00001.weights.h5"],
    }
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index
