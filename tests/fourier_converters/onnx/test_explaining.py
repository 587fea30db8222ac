"""--explain and --dry-run: what would be done and why, said without doing it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fourier_converters.mapping import read_map
from fourier_format import Adapter
from tests.fourier_converters.adapters import adapter, save, without_prints
from tests.fourier_converters.command import Captured, as_json, convert, refused
from tests.fourier_converters.graphs import digests, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.branched import set_shape
from tests.fourier_converters.onnx.merged import rename
from tests.fourier_converters.onnx.quantised import IN, OUT, Layer, W, nbits
from tests.fourier_converters.onnx.setting import K, Q, Setting

QKV = np.concatenate([W, weight(8, IN, seed=1), weight(8, IN, seed=2)])


class Explained:
    """A base and an adapter, and what --explain writes of them."""

    def __init__(self, proto: Any, whole: Adapter, folder: Path, capsys: Captured) -> None:
        self.folder = folder
        self.capsys = capsys
        self.base = save_model(proto, folder / "base.onnx")
        self.file = save(whole, folder)
        self.map = folder / "explained.json"

    def merge(self, *more: str | Path, output: str = "merged.onnx") -> tuple[Any, bytes]:
        """Returns the report and the merged file's bytes."""
        path = self.folder / output
        arguments = (self.file, "--to", "onnx", "--base", self.base, "-o", path, *more)
        code, found = as_json(self.capsys, *arguments)
        assert code == 0, found
        return found, path.read_bytes()

    def explain(self, *more: str | Path) -> Any:
        """Returns the map that a merge explains itself with."""
        arguments = (self.file, "--to", "onnx", "--base", self.base, "--dry-run", *more)
        convert(*arguments, "--explain", self.map, "--quiet")
        self.capsys.readouterr()
        return json.loads(self.map.read_text())


def twice() -> Any:
    """Two calls of one layer, and another of equal weight."""
    body = " [a] h = MatMul (x, v) [b] i = MatMul (x, w) [c] j = MatMul (x, u)"
    body += " k = Add (h, i) y = Add (k, j)"
    proto = Layer(body, {"v": W.T, "w": W.T, "u": W.T}).model()
    for node, name in zip(
        proto.graph.node, ["/q/MatMul", "/q_1/MatMul", "/k/MatMul"], strict=False
    ):
        node.name = name
    return proto


def head() -> Any:
    """A layer, its bias inside a fused normalisation, and a Gemm, with all their parameters."""
    body = """
        [q] h = MatMul (x, w)
        [r] k = Relu (h)
        [n] i = com.microsoft.SkipLayerNormalization (h, k, s, t, b)
        [head] y = Gemm <transB = 1> (i, c, d)
    """
    arrays = {"b": weight(1, OUT, seed=4)[0]}
    arrays |= {"w": W.T, "s": weight(1, OUT)[0], "t": weight(1, OUT, seed=1)[0]}
    arrays |= {"c": weight(OUT, OUT, seed=2), "d": weight(1, OUT, seed=3)[0]}
    proto = Layer(body, arrays).model(out=f"1, N, {OUT}")
    set_shape(proto, [1, "N", IN])
    names = {
        "b": "enc.q.bias",
        "s": "norm.weight",
        "t": "norm.bias",
        "c": "head.weight",
        "d": "head.bias",
    }
    for old, new in names.items():
        rename(proto, old, new)
    return proto


def packed(layer: Layer) -> Any:
    sizes = np.array([24, 8, 8])
    body = "a, b, c = Split <axis = -1> (h, sizes) y = Concat <axis = -1> (a, b, c)"
    proto = layer.then(body, sizes=sizes).model(out="N, 40")
    proto.graph.node[0].name = "/attn/qkv/MatMul"
    return proto


TRAINED = {
    "enc.q.bias": weight(1, OUT, seed=10)[0],
    "norm.weight": weight(1, OUT, seed=11)[0],
    "norm.bias": weight(1, OUT, seed=12)[0],
    "head.weight": weight(OUT, OUT, seed=13),
    "head.bias": weight(1, OUT, seed=14)[0],
}
PARTS = {"attn.q_proj": QKV[:24], "attn.k_proj": QKV[24:32], "attn.v_proj": QKV[32:]}
CASES: dict[str, tuple[Any, Adapter]] = {
    "one of two": (twice(), without_prints({"k": W})),
    "a layer that is called twice": (twice(), adapter({"q": W})),
    "a trained head": (head(), adapter({"enc.q": W}, replacements=TRAINED)),
    "packed": (packed(Layer(" [q] y = MatMul (x, w)", {"w": QKV.T})), adapter(PARTS)),
    "packed and quantised": (packed(nbits(8, w=QKV)), without_prints(PARTS)),
    "a bias that the graph lacks": (
        nbits().model(),
        adapter({"enc.q": W}, replacements={"enc.q.bias": TRAINED["norm.bias"]}),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_explanation_is_a_map_that_gives_the_same_again(
    case: str, tmp_path: Path, capsys: Captured
) -> None:
    explained = Explained(*CASES[case], tmp_path, capsys)
    report, merged = explained.merge()

    explained.explain()
    again, by_map = explained.merge("--map", explained.map, output="again.onnx")

    read_map(explained.map)
    assert by_map == merged
    found = [(row["target"], row["found"], row["relative_change"]) for row in report["rows"]]
    assert [(r["target"], r["found"], r["relative_change"]) for r in again["rows"]] == found


def test_rows_nodes_and_reasons_are_stated(tmp_path: Path, capsys: Captured) -> None:
    packed_one = Explained(*CASES["packed"], tmp_path, capsys).explain()["targets"]
    explained = Explained(*CASES["a layer that is called twice"], tmp_path, capsys)
    explained.map.unlink()
    called_twice = explained.explain()["targets"]["q"]

    assert packed_one["attn.k_proj"]["node"] == "/attn/qkv/MatMul"
    assert packed_one["attn.k_proj"]["rows"] == [24, 32]
    assert packed_one["attn.k_proj"]["explanation"]["why"] == "fingerprint + node path"
    assert called_twice["node"] == ["/q/MatMul", "/q_1/MatMul"]
    assert called_twice["explanation"]["considered"] == [
        "/q/MatMul reads v: q by node path; has the fingerprint",
        "/q_1/MatMul reads w: q_1 by node path; has the fingerprint",
        "/k/MatMul reads u: k by node path; has the fingerprint",
    ]


class TestNotFound:
    def test_what_was_considered_is_said(self, tmp_path: Path, capsys: Captured) -> None:
        whole = adapter({"enc.q": W, "gone": weight(OUT, IN, seed=7)})
        explained = Explained(nbits().model(), whole, tmp_path, capsys)

        targets = explained.explain()["targets"]

        assert "node" in targets["enc.q"]
        assert set(targets["gone"]) == {"explanation"}
        assert (
            "no weight of the graph is this target's" in targets["gone"]["explanation"]["problem"]
        )
        assert targets["gone"]["explanation"]["considered"] == [
            "/enc/q/MatMul reads w_Q: enc.q by node path; has not the fingerprint"
        ]

    def test_what_could_be_meant_is_said_where_it_is_ambiguous(self, setting: Setting) -> None:
        setting.base(k=Q, names=None)
        path = setting.folder / "explained.json"
        arguments = setting.arguments(adapter({"enc.q": Q}), "--explain", path)

        (line,) = refused(setting.capsys, *arguments)

        assert line.endswith("[E-TARGET-AMBIGUOUS]")
        explanation = json.loads(path.read_text())["targets"]["enc.q"]["explanation"]
        assert "several uses have its weight" in explanation["problem"]
        assert explanation["considered"] == [
            "q reads val_1: no module path; has the fingerprint",
            "k reads val_2: no module path; has the fingerprint",
        ]

    def test_the_map_with_the_node_filled_in_works(self, setting: Setting) -> None:
        setting.base(k=Q, names=None)
        path = setting.folder / "explained.json"
        whole = adapter({"enc.q": Q})
        refused(setting.capsys, *setting.arguments(whole, "--explain", path))
        value = json.loads(path.read_text())
        value["targets"]["enc.q"]["node"] = "k"
        path.write_text(json.dumps(value))

        (row,) = setting.merge(whole, "--map", path)["rows"]

        assert row["found"] == "val_2"

    def test_a_trained_tensor_that_is_not_there_is_explained_too(
        self, tmp_path: Path, capsys: Captured
    ) -> None:
        whole = adapter({"enc.q": W}, replacements={"head.weight": W})
        explained = Explained(nbits().model(), whole, tmp_path, capsys)

        entry = explained.explain()["replacements"]["head.weight"]

        assert "nothing in the graph reads a tensor of this name" in entry["explanation"]["problem"]

    def test_nodes_that_hide_weights_are_named(self, tmp_path: Path, capsys: Captured) -> None:
        body = " [q] h = MatMul (x, w) y = com.microsoft.GatherBlockQuantized (h, x, w)"
        proto = Layer(body, {"w": W.T}).model()
        explained = Explained(proto, adapter({"enc.q": W}), tmp_path, capsys)

        entry = explained.explain()["targets"]["enc.q"]

        assert entry["explanation"]["not looked into"] == [
            "1 GatherBlockQuantized: a block-quantised embedding"
        ]


def test_what_a_map_skips_is_skipped_in_the_explanation(tmp_path: Path, capsys: Captured) -> None:
    explained = Explained(*CASES["a trained head"], tmp_path, capsys)
    path = tmp_path / "skip.json"
    path.write_text('{"replacements": {"head.bias": {"skip": true}}}')

    found = explained.explain("--map", path)

    assert found["replacements"]["head.bias"]["skip"] is True


def test_an_explanation_overwrites_only_on_request(setting: Setting) -> None:
    setting.base()
    path = setting.folder / "explained.json"
    path.write_text("mine")
    arguments = setting.arguments(adapter({"enc.q": Q}), "--explain", path)
    arguments.remove("--force")

    (line,) = refused(setting.capsys, *arguments, exit_code=2)

    assert line.endswith("[E-OUTPUT-EXISTS]")
    assert path.read_text() == "mine"
    assert convert(*arguments, "--force", "--quiet") == 0
    assert path.read_text() != "mine"


@pytest.mark.parametrize("name", ["base.onnx", "weights.bin", "a.fft", "map.json"])
@pytest.mark.parametrize("option", ["--explain", "-o"])
def test_nothing_is_ever_written_over_an_input(option: str, name: str, setting: Setting) -> None:
    base = setting.base()
    outside = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save_model(onnx.load(base), base, **outside)
    corrections = setting.folder / "map.json"
    corrections.write_text('{"targets": {"enc.q": {"skip": true}}}')
    before = digests(setting.folder)
    more = ("--map", corrections, option, setting.folder / name)

    (line,) = setting.refuse(adapter({"enc.q": Q}), *more, exit_code=2)

    assert "which is only read" in line
    assert digests(setting.folder).items() >= before.items()


def test_an_explanation_and_the_result_are_two_files(setting: Setting) -> None:
    setting.base()
    path = setting.folder / "one.onnx"

    (line,) = setting.refuse(adapter({"enc.q": Q}), "--explain", path, "-o", path, exit_code=2)

    assert "the explanation and the result would be one file" in line
    assert not path.exists()


class TestDryRun:
    @pytest.mark.parametrize("mode", ["live", "requantize"])
    @pytest.mark.parametrize("case", CASES)
    def test_it_reports_the_same_and_writes_nothing(
        self, case: str, mode: str, tmp_path: Path, capsys: Captured
    ) -> None:
        explained = Explained(*CASES[case], tmp_path, capsys)
        before = digests(tmp_path)
        output = tmp_path / "merged.onnx"
        arguments = (explained.file, "--to", "onnx", "--base", explained.base, "-o", output)

        code, dry = as_json(capsys, *arguments, "--quantized", mode, "--dry-run")

        assert code == 0
        assert digests(tmp_path) == before
        _, done = as_json(capsys, *arguments, "--quantized", mode)
        assert dry == done

    def test_it_says_that_nothing_was_written(self, setting: Setting) -> None:
        setting.base()

        assert convert(*setting.arguments(adapter({"enc.q": Q}), "--dry-run")) == 0

        assert setting.capsys.readouterr().out.endswith("\n\ndry run: nothing was written\n")

    def test_an_output_that_exists_does_not_matter(self, setting: Setting) -> None:
        setting.base()
        setting.output.write_bytes(b"mine")
        arguments = setting.arguments(adapter({"enc.q": Q, "enc.k": K}), "--dry-run")
        arguments.remove("--force")

        assert convert(*arguments, "--quiet") == 0

        assert setting.output.read_bytes() == b"mine"

    def test_it_refuses_what_the_real_run_refuses(self, setting: Setting) -> None:
        setting.base(q=K)

        (line,) = setting.refuse(adapter({"enc.q": Q}), "--dry-run")

        assert line.endswith("[E-BASE-MISMATCH]")

    def test_a_base_with_external_data_is_only_read(self, base: Path, source: Path) -> None:
        folder = base.parent
        before = digests(folder.parent)

        assert convert(source, "--to", "onnx", "--base", base, "--dry-run", "--quiet") == 0

        assert digests(folder.parent) == before
