"""No conversion writes over a file that it reads, whatever it makes and however it is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from fourier_converters.html import to_html
from fourier_converters.onnx import to_onnx
from fourier_converters.onnx.live import to_live
from fourier_converters.onnx.live.adapter_file import to_onnx_adapter
from fourier_format.errors import UsageError
from tests.fourier_converters.adapters import adapter, save
from tests.fourier_converters.checkpoints import spectrum, write_base, write_peft
from tests.fourier_converters.command import Captured, converted, refused
from tests.fourier_converters.graphs import LINEAR, digests, model, save_external, weight
from tests.fourier_converters.keras.setting import UP, dense
from tests.fourier_converters.keras.test_writing import write_shards

W = weight()
WHOLE = adapter({"enc.q": W})
Made = tuple[Sequence[str | Path], Path]
"""Arguments without -o, and a file of the base."""


def external(folder: Path) -> Path:
    proto = model(LINEAR, {"val_1": np.ascontiguousarray(W.T)}, {"node_MatMul": "enc.q"})
    return save_external(proto, folder / "base.onnx")


def page_of_external_data(folder: Path) -> Made:
    base = external(folder)
    return [save(WHOLE, folder), "--to", "html", "--base", base], folder / "base.onnx.data"


def onnx_of_external_data(folder: Path) -> Made:
    base = external(folder)
    return [save(WHOLE, folder), "--to", "onnx", "--base", base], folder / "base.onnx.data"


def live_of_external_data(folder: Path) -> Made:
    base = external(folder)
    file = save(WHOLE, folder)
    return [file, "--to", "onnx", "--live", "--base", base], folder / "base.onnx.data"


def fed_to_a_live_graph(folder: Path) -> Made:
    to_live([WHOLE], external(folder), folder / "live.onnx")
    (data,) = folder.glob("live.onnx.*.data")
    return [save(WHOLE, folder), "--to", "onnx-adapter", "--base", folder / "live.onnx"], data


def peft(folder: Path, to: str) -> Made:
    base = external(folder)
    source = write_peft(folder / "peft", spectrum("enc.q"))
    return [source, "--to", to, "--base", base], folder / "base.onnx.data"


def fft_of_peft(folder: Path) -> Made:
    return peft(folder, "fft")


def h5_of_peft(folder: Path) -> Made:
    return peft(folder, "h5")


def page_of_peft(folder: Path) -> Made:
    return peft(folder, "html")


def page_of_a_peft_source(folder: Path) -> Made:
    arguments, _ = peft(folder, "html")
    return arguments, folder / "peft" / "adapter_model.safetensors"


def page_of_shards(folder: Path) -> Made:
    base = write_shards(folder / "keras")
    shard = next(path for path in sorted((folder / "keras").iterdir()) if path.suffix == ".h5")
    arguments: list[str | Path] = [save(dense({"block/up": UP}), folder), "--to", "html"]
    return [*arguments, "--base", base], shard


def page_of_a_checkpoint(folder: Path) -> Made:
    write_base(folder / "base", {"enc.q.weight": W})
    (folder / "base" / "deep").mkdir()
    (folder / "base" / "deep" / "tokenizer.json").write_text("{}")
    arguments: list[str | Path] = [save(WHOLE, folder), "--to", "html"]
    return [*arguments, "--base", folder / "base"], folder / "base" / "deep" / "tokenizer.json"


def page_of_a_link(folder: Path) -> Made:
    """The name is in the directory that is read, what it leads to is elsewhere."""
    write_base(folder / "base", {"enc.q.weight": W})
    (folder / "base" / "model.safetensors").rename(folder / "blob")
    (folder / "base" / "model.safetensors").symlink_to(folder / "blob")
    arguments: list[str | Path] = [save(WHOLE, folder), "--to", "html"]
    return [*arguments, "--base", folder / "base"], folder / "base" / "model.safetensors"


CASES = (
    page_of_external_data,
    onnx_of_external_data,
    live_of_external_data,
    fed_to_a_live_graph,
    fft_of_peft,
    h5_of_peft,
    page_of_peft,
    page_of_a_peft_source,
    page_of_shards,
    page_of_a_checkpoint,
    page_of_a_link,
)


@pytest.mark.parametrize("case", CASES)
def test_no_file_of_a_base_is_written_over(
    case: Callable[[Path], Made], tmp_path: Path, capsys: Captured
) -> None:
    arguments, file = case(tmp_path)
    before = digests(tmp_path)

    (line,) = refused(capsys, *arguments, "-o", file, "--force", exit_code=2)

    assert "which is only read" in line
    assert digests(tmp_path) == before


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_input_is_written_over_on_request(
    case: Callable[[Path], Made], tmp_path: Path
) -> None:
    arguments, _ = case(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    suffixes = {"html": ".html", "fft": ".fft", "h5": ".fft.h5", "onnx": ".onnx"}
    to = str(arguments[arguments.index("--to") + 1])
    output = tmp_path / "elsewhere" / f"made{suffixes.get(to, '.onnx_adapter')}"
    output.write_text("mine")

    converted(*arguments, "-o", output, "--force")

    assert output.read_bytes() != b"mine"


def test_an_explanation_is_not_written_over_a_file_deep_in_a_directory(
    tmp_path: Path, capsys: Captured
) -> None:
    folder = tmp_path / "genai"
    (folder / "deep").mkdir(parents=True)
    external(folder).rename(folder / "model.onnx")
    settings = {"model": {"decoder": {"filename": "model.onnx"}}}
    (folder / "genai_config.json").write_text(json.dumps(settings))
    (folder / "deep" / "tokenizer.json").write_text("{}")
    file, output = save(WHOLE, tmp_path), folder / "deep" / "tokenizer.json"
    into = ("--to", "onnx", "--base", folder, "-o", tmp_path / "made")
    before = digests(tmp_path)

    (line,) = refused(capsys, file, *into, "--explain", output, "--force", exit_code=2)

    assert "which is only read" in line
    assert digests(tmp_path) == before


def test_the_functions_refuse_it_too(tmp_path: Path) -> None:
    base = external(tmp_path)
    to_live([WHOLE], base, tmp_path / "live.onnx")
    (live,) = tmp_path.glob("live.onnx.*.data")
    data = tmp_path / "base.onnx.data"
    before = digests(tmp_path)

    with pytest.raises(UsageError, match="which is only read"):
        to_html(WHOLE, data, base=base, overwrite=True)
    with pytest.raises(UsageError, match="which is only read"):
        to_onnx(WHOLE, base, data, overwrite=True)
    with pytest.raises(UsageError, match="which is only read"):
        to_onnx_adapter(WHOLE, tmp_path / "live.onnx", live, overwrite=True)

    assert digests(tmp_path) == before
