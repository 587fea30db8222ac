"""Every public function takes paths as strings, as README's readers write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fourier_converters.base import open_base
from fourier_converters.html import to_html
from fourier_converters.keras import to_keras
from fourier_converters.lora import to_lora
from fourier_converters.mapping import Map, read_map
from fourier_converters.onnx import explain, merge_at_load, to_onnx, to_onnx_directory
from fourier_converters.onnx.live import live_at_load, read_interface, to_live, to_live_directory
from fourier_converters.onnx.live.adapter_file import to_onnx_adapter
from fourier_converters.peft import to_peft
from fourier_converters.peft.checkpoint import read_checkpoint
from fourier_converters.safetensors import to_checkpoint
from fourier_format.errors import FileAccessError
from tests.fourier_converters.adapters import adapter, save
from tests.fourier_converters.checkpoints import spectrum, write_base, write_peft
from tests.fourier_converters.graphs import LINEAR, model, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.keras.setting import UP, dense, write_weights

W = weight()
WHOLE = adapter({"enc.q": W})


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with an adapter and its base in every form."""
    monkeypatch.chdir(tmp_path)
    proto = model(LINEAR, {"val_1": np.ascontiguousarray(W.T)}, {"node_MatMul": "enc.q"})
    save_model(proto, tmp_path / "base.onnx")
    write_base(tmp_path / "base", {"enc.q.weight": W})
    write_weights(tmp_path / "m.weights.h5")
    save(WHOLE, tmp_path)
    return tmp_path


def test_models_are_merged(here: Path) -> None:
    to_onnx(WHOLE, "base.onnx", "merged.onnx")
    to_checkpoint(WHOLE, "base", "merged")
    to_keras(dense({"block/up": UP}), "m.weights.h5", "merged.weights.h5")

    for name in ("merged.onnx", "merged/model.safetensors", "merged.weights.h5"):
        assert (here / name).is_file()


def test_models_are_merged_and_explained_in_memory() -> None:
    assert merge_at_load(WHOLE, "base.onnx").report.output == "base.onnx"
    assert live_at_load([WHOLE], "base.onnx").report.output == "base.onnx"
    assert "enc.q" in explain(WHOLE, "base.onnx")["targets"]


def test_live_graphs_are_made_read_and_fed(here: Path) -> None:
    to_live([WHOLE], "base.onnx", "live.onnx")
    assert read_interface("live.onnx") is not None

    to_onnx_adapter(WHOLE, "live.onnx", "a.onnx_adapter")

    assert (here / "a.onnx_adapter").is_file()


def test_a_directory_is_looked_into() -> None:
    with pytest.raises(FileAccessError, match=r"genai_config\.json"):
        to_onnx_directory(WHOLE, "base", "out")
    with pytest.raises(FileAccessError, match=r"genai_config\.json"):
        to_live_directory([WHOLE], "base", "out")


def test_adapters_become_other_files(here: Path) -> None:
    to_peft(WHOLE, "peft")
    to_lora(WHOLE, "lora", rank=4)
    to_html(WHOLE, "page.html", name="a", file="a.fft", base="base.onnx")

    for name in ("peft/adapter_config.json", "lora/adapter_config.json", "page.html"):
        assert (here / name).is_file()


def test_what_an_adapter_is_made_of_is_read(here: Path) -> None:
    write_peft(here / "peft", spectrum("enc.q"))
    (here / "map.json").write_text('{"targets": {"enc.q": {"skip": true}}}')

    assert "enc.q" in read_checkpoint("peft").spectra
    assert open_base("base", Map(), ["enc.q"])
    assert read_map("map.json").skipped == ("enc.q",)
