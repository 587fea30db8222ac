"""A sharded checkpoint: its index names the files, and nothing outside its directory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fourier_converters.base import open_base
from fourier_converters.mapping import Map
from fourier_format.adapter import Array
from fourier_format.containers.safetensors import encode_plain
from fourier_format.errors import FourierFormatError, UnsupportedError
from tests.fourier_converters.checkpoints import write_base
from tests.fourier_converters.graphs import weight

STORED = weight(6, 4)


def matrix(path: Path, module: str, mapping: Map | None = None) -> Array:
    """Returns the canonical matrix that the base at `path` gives for `module`."""
    return open_base(path, mapping or Map(), {module}).weight(module).matrix


def refusal(path: Path, module: str = "query", mapping: Map | None = None) -> FourierFormatError:
    with pytest.raises(FourierFormatError) as caught:
        matrix(path, module, mapping)
    return caught.value


class TestShards:
    @pytest.fixture
    def index(self, tmp_path: Path) -> Path:
        """A checkpoint of two shards, with a stray file that is part of neither."""
        for number, name in enumerate(("a.query", "b.query"), 1):
            self.shard(tmp_path, number).write_bytes(
                encode_plain({f"{name}.weight": weight(seed=number)}, {})
            )
        (tmp_path / "other.safetensors").write_bytes(encode_plain({"c.weight": STORED}, {}))
        (tmp_path / "config.json").write_text('{"model_type": "bert"}')
        return self.write_index(
            tmp_path,
            **{f"{n}.query.weight": self.shard(tmp_path, i).name for i, n in ((1, "a"), (2, "b"))},
        )

    @staticmethod
    def shard(folder: Path, number: int) -> Path:
        return folder / f"model-0000{number}-of-00002.safetensors"

    @staticmethod
    def write_index(folder: Path, **weight_map: str) -> Path:
        path = folder / "model.safetensors.index.json"
        path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
        return path

    @pytest.mark.parametrize("as_directory", [True, False])
    def test_a_sharded_checkpoint_is_its_directory_or_its_index(
        self, as_directory: bool, index: Path
    ) -> None:
        path = index.parent if as_directory else index

        assert np.array_equal(matrix(path, "a.query"), weight(seed=1))
        assert np.array_equal(matrix(path, "b.query"), weight(seed=2))
        assert refusal(path, "c").code == "E-TARGET-NOT-FOUND"

    @pytest.mark.parametrize(
        "name", ["../x.safetensors", "/x.safetensors", "sub/x.safetensors", "..", ".", ""]
    )
    def test_an_index_cannot_lead_out_of_its_directory(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "x.safetensors").write_bytes(encode_plain({"query.weight": STORED}, {}))
        folder = tmp_path / "base"
        folder.mkdir()

        error = refusal(self.write_index(folder, query=name))

        assert isinstance(error, UnsupportedError)
        assert f"a shard lies outside the checkpoint's directory (got {name!r})" in str(error)

    @pytest.mark.parametrize("text", ["{}", "[]", '{"weight_map": {}}', '{"weight_map": ["a"]}'])
    def test_an_index_without_a_map_is_refused(self, text: str, tmp_path: Path) -> None:
        path = self.write_index(tmp_path)
        path.write_text(text)

        assert refusal(path).code == "E-BASE-UNSUPPORTED"

    def test_a_missing_shard_is_named(self, index: Path) -> None:
        self.shard(index.parent, 2).unlink()

        error = refusal(index)

        assert error.code == "E-IO"
        assert "model-00002-of-00002.safetensors" in str(error)

    def test_one_whole_file_is_preferred_to_others_beside_it(self, tmp_path: Path) -> None:
        write_base(tmp_path, {"query.weight": STORED})
        (tmp_path / "consolidated.safetensors").write_bytes(
            encode_plain({"query.weight": weight(seed=1)}, {})
        )

        assert np.array_equal(matrix(tmp_path, "query"), STORED)

    def test_a_directory_without_safetensors_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")

        error = refusal(tmp_path)

        assert error.code == "E-BASE-UNSUPPORTED"
        assert "holds no *.safetensors" in str(error)
