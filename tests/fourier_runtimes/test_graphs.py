from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from fourier_format.errors import InvalidAdapterError, UsageError
from fourier_format.live import to_text
from fourier_format.live.interface import KEY
from fourier_runtimes import AdapterSession
from fourier_runtimes.graphs import PLAIN, live_text, read, sort_of
from tests.fourier_runtimes.handmade import adapter_for, handmade, plain_model

BASE = handmade(0)


def test_a_live_graph_is_known_by_its_metadata(tmp_path: Path) -> None:
    (tmp_path / "live.onnx").write_bytes(BASE.model())

    assert live_text(BASE.model()) == to_text(BASE.interface)
    assert live_text(str(tmp_path / "live.onnx")) == to_text(BASE.interface)


@pytest.mark.parametrize("model", [plain_model(BASE), b"", b"nothing of the sort", b"\xff" * 40])
def test_anything_else_is_not_live(model: bytes) -> None:
    assert read(model, None).interface is PLAIN


def test_of_a_large_model_only_lengths_are_read(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    graph = b"\x3a" + b"\x80\x80\x80\x80\x04"  # field 7, 2**30 bytes, a hole in the file
    with path.open("wb") as file:
        file.write(graph)
        file.seek(2**30, 1)
        file.write(b"\x72\x09\x0a\x01k\x12\x04text")
        pair = helper.make_model(helper.make_graph([], "g", [], []))
        helper.set_model_props(pair, {KEY: "{}"})
        file.write(pair.SerializeToString())

    assert live_text(str(path)) == "{}"


def test_a_broken_description_is_refused() -> None:
    model = BASE.model().replace(b'"static":false', b'"static":"no" ')

    with pytest.raises(InvalidAdapterError) as caught:
        AdapterSession(model)

    assert caught.value.code == "E-LIVE-INTERFACE"


@pytest.mark.parametrize("in_file", [False, True])
def test_a_graph_that_describes_itself_twice_is_refused(in_file: bool, tmp_path: Path) -> None:
    pair = ModelProto()
    pair.metadata_props.add(key=KEY, value="{}")
    model = BASE.model() + pair.SerializeToString()
    (tmp_path / "live.onnx").write_bytes(model)

    with pytest.raises(InvalidAdapterError, match="twice") as caught:
        AdapterSession(tmp_path / "live.onnx" if in_file else model)

    assert caught.value.code == "E-LIVE-INTERFACE"


def test_a_graph_without_the_inputs_that_it_tells_of_is_refused() -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch"]) for name in "xy")
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(model, {KEY: to_text(BASE.interface)})

    with pytest.raises(InvalidAdapterError, match="lacks"):
        AdapterSession(bytes(model.SerializeToString()))


def test_adapters_of_one_sort_need_one_place() -> None:
    two = handmade(0, 1)

    sorts = {
        sort_of(adapter_for(two, 1)),
        sort_of(adapter_for(two, 2, alpha=3.0, dtype=np.float16)),
        sort_of(adapter_for(two, 3, targets=("second", "first"))),
    }

    assert len(sorts) == 1
    assert sort_of(adapter_for(two, 1, 1)) not in sorts
    assert sort_of(adapter_for(two, 1, head=True)) not in sorts
    assert sort_of(adapter_for(two, 1, targets=("second",))) not in sorts


def test_a_plain_base_in_memory_is_not_made_live() -> None:
    with pytest.raises(UsageError, match="path"):
        AdapterSession(plain_model(BASE)).load(adapter_for(BASE, 1), "a")
