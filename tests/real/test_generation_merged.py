"""An adapter merged into the model builder's directories: they generate what PEFT does in torch."""

from pathlib import Path

import pytest

from tests.real.checks import compare, figures
from tests.real.generation import (
    FORMS,
    build,
    built,
    checkpoint,
    generate,
    rounded_layers,
    torch_generate,
)
from tests.real.rounded import put
from tests.real.routes import convert
from tests.real.workspace import Workspace, WorkspaceOf, build_base, load_adapted
from tests.tolerances import HALF_ERROR_RATIO, ONNX_OUTPUT_F32

pytestmark = pytest.mark.real
_PLAIN, _TIED = "llama-generating", "llama-generating-tied"
_FLOAT = [
    (_PLAIN, "fp32"),
    (_PLAIN, "fp32-unpacked"),
    (_PLAIN, "fp32-packed-mlp"),
    (_TIED, "fp32-shared"),
]
_ROUNDED = ["int4", "int4-asymmetric", "int4-rtn", "int4-qdq", "int8"]


def _merged(workspace: Workspace, form: str, folder: Path) -> Path:
    fft, output = folder / "adapter.fft", folder / "merged"
    convert(workspace.adapter(), "--to", "fft", "--base", workspace.safetensors(), "-o", fft)
    convert(fft, "--to", "onnx", "--base", built(workspace, form), "-o", output)
    return output


@pytest.mark.parametrize(("name", "form"), _FLOAT)
def test_it_generates_what_peft_does(
    name: str, form: str, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """Packed q, k and v: each target is changed in its own rows of the one weight."""
    workspace = workspace_of(name)

    got = generate(_merged(workspace, form, tmp_path))

    expected = torch_generate(load_adapted(workspace.case, workspace.adapter()))
    error = compare(expected.logits, got.logits)
    figures.info("logits off by %.1e", error)
    assert got.tokens == expected.tokens
    assert error <= ONNX_OUTPUT_F32


def test_in_float16_it_is_about_as_exact_as_its_base(
    workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """Or as what the builder makes of the model merged in float32: see test_matrix."""
    workspace = workspace_of(_PLAIN)

    got = generate(_merged(workspace, "fp16", tmp_path))

    whole, peers = tmp_path / "whole", tmp_path / "peers"
    convert(
        *(tmp_path / "adapter.fft", "--to", "safetensors"),
        *("--base", checkpoint(workspace), "-o", whole),
    )
    peers.mkdir()
    build(whole, peers, "fp16")

    expected = torch_generate(load_adapted(workspace.case, workspace.adapter()))
    plain = torch_generate(build_base(workspace.case))
    own = compare(plain.logits, generate(built(workspace, "fp16")).logits)
    peer = compare(expected.logits, generate(peers).logits)
    error = compare(expected.logits, got.logits)
    figures.info("base %.1e, merged %.1e, float32 first %.1e", own, error, peer)
    assert got.tokens == expected.tokens
    assert error <= HALF_ERROR_RATIO * max(own, peer)


@pytest.mark.parametrize("form", _ROUNDED)
def test_quantised_it_generates_what_peft_does_on_the_rounded_weights(
    form: str, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    workspace = workspace_of(_PLAIN)
    weights = rounded_layers(
        built(workspace, form) / "model.onnx", build_base(workspace.case).config
    )
    adapted = load_adapted(workspace.case, workspace.adapter())
    put(weights, adapted.get_base_model())

    got, expected = generate(_merged(workspace, form, tmp_path)), torch_generate(adapted)

    error = compare(expected.logits, got.logits)
    figures.info("logits off by %.1e", error)
    assert got.tokens == expected.tokens
    assert error <= ONNX_OUTPUT_F32


@pytest.mark.parametrize(("name", "form"), [*_FLOAT, (_PLAIN, "int4"), (_TIED, "int4")])
def test_names_alone_find_the_packed_parts(
    name: str, form: str, workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """`self_attn.q_proj` is the first rows of `attn/qkv_proj`."""
    workspace = workspace_of(name)
    named = tmp_path / "named"

    convert(workspace.adapter(), "--to", "onnx", "--base", built(workspace, form), "-o", named)

    marked = generate(_merged(workspace, form, tmp_path))
    got = generate(named)
    assert got.tokens == marked.tokens
    assert compare(marked.logits, got.logits) == 0


def test_every_form_is_tried() -> None:
    tried = {form for _, form in _FLOAT} | {"fp16", *_ROUNDED}

    assert set(FORMS) - tried == {"int4-unpacked", "int4-embedding"}  # both by their parts above
