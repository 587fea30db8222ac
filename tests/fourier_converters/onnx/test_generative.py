"""Directories of onnxruntime-genai: loaded as a whole, so copied as a whole."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.fourier_converters.command import Captured, converted, refused
from tests.fourier_converters.graphs import digests, save_external
from tests.fourier_converters.onnx.hub import cached
from tests.fourier_converters.onnx.mixed import assert_merged, proto

CONFIG = "genai_config.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A decoder with its data, a configuration and a tokenizer."""
    made = tmp_path / "genai"
    made.mkdir()
    save_external(proto(), made / "model.onnx")
    (made / CONFIG).write_text(json.dumps({"model": {"decoder": {"filename": "model.onnx"}}}))
    (made / "tokenizer.json").write_text("{}")
    return made


def merge(source: Path, folder: Path, *more: str) -> Path:
    output = folder.parent / "merged"
    converted(source, "--to", "onnx", "--base", folder, "-o", output, *more)
    return output


def test_the_graph_is_merged_and_the_rest_copied(folder: Path, source: Path) -> None:
    merged = merge(source, folder)

    assert_merged(merged / "model.onnx")
    after = digests(merged)
    (data,) = after.keys() - {"model.onnx", CONFIG, "tokenizer.json"}
    assert data.startswith("model.onnx.")
    assert data != "model.onnx.data"


def test_data_that_another_graph_refers_to_is_copied_for_it(folder: Path, source: Path) -> None:
    (folder / "prefill.onnx").write_bytes((folder / "model.onnx").read_bytes())
    before = digests(folder)

    merged = merge(source, folder)

    assert_merged(merged / "model.onnx")
    after = digests(merged)
    for name in ("prefill.onnx", "model.onnx.data"):
        assert after[name] == before[name]


def test_an_empty_folder_is_made(folder: Path, source: Path) -> None:
    (folder / "sub" / "empty").mkdir(parents=True)

    merge(source, folder)
    merged = merge(source, folder, "--force")

    assert (merged / "sub" / "empty").is_dir()
    assert_merged(merged / "model.onnx")


@pytest.mark.parametrize("mode", [(), ("--dry-run",)])
def test_a_link_out_of_it_is_not_followed(
    mode: tuple[str, ...], folder: Path, source: Path, capsys: Captured
) -> None:
    secret = folder.parent / "secret"
    secret.write_text("secret")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to(secret)
    before = digests(folder.parent)
    output = folder.parent / "merged"

    arguments = ("--to", "onnx", "--base", folder, "-o", output)
    (line,) = refused(capsys, source, *arguments, *mode)

    assert "tokenizer.json: it is a link out of the base's directory" in line
    assert line.endswith("[E-BASE-UNSUPPORTED]")
    assert digests(folder.parent) == before


@pytest.mark.parametrize("sort", ["pipe", "link to a folder"])
def test_what_is_no_regular_file_is_refused(
    sort: str, folder: Path, source: Path, capsys: Captured
) -> None:
    if sort == "pipe":
        os.mkfifo(folder / "x")
    else:
        (folder / "sub").mkdir()
        (folder / "x").symlink_to("sub")
    output = folder.parent / "merged"

    (line,) = refused(capsys, source, "--to", "onnx", "--base", folder, "-o", output)

    assert "x: it is no regular file" in line
    assert not output.exists()


def test_links_of_a_hub_cache_are_followed(folder: Path, source: Path) -> None:
    snapshot = cached(folder / "model.onnx", folder.parent / "hub").parent
    output = folder.parent / "merged"

    converted(source, "--to", "onnx", "--base", snapshot, "-o", output)

    assert_merged(output / "model.onnx")
    assert not any(path.is_symlink() for path in output.iterdir())
