"""One live graph in onnxruntime-genai: whichever adapter is set, it generates what PEFT does."""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from tests.real.checks import compare, figures
from tests.real.generation import (
    PROMPT,
    Generated,
    Generating,
    built,
    rounded_layers,
    torch_generate,
)
from tests.real.rounded import put
from tests.real.routes import convert
from tests.real.workspace import Workspace, WorkspaceOf, build_base, load_adapted, once
from tests.tolerances import ONNX_OUTPUT_F32

pytestmark = pytest.mark.real
_ALL, _TIED, _TWO, _REAL = "llama-generating", "llama-generating-tied", "llama-live", "smollm2-live"
_SLOW = pytest.mark.slow
_FORMS = [
    (_ALL, "fp32"),
    (_ALL, "fp32-unpacked"),
    (_ALL, "fp32-packed-mlp"),
    (_TIED, "fp32-shared"),
    (_TWO, "fp32"),
    (_ALL, "int4"),
    (_ALL, "int4-asymmetric"),
    (_ALL, "int4-qdq"),
    (_ALL, "int8"),
    (_TWO, "int4"),
    pytest.param(_REAL, "fp32", marks=_SLOW),
    pytest.param(_REAL, "int4", marks=_SLOW),
]
_PROMPTS = (PROMPT, (1, 44, 3, 22, 61, 70), (1, 9, 8, 7, 6, 5))


def fft_of(workspace: Workspace, name: str = "default") -> Path:
    """Return the adapter's .fft, which knows its base."""

    def make(folder: Path) -> None:
        output = folder / "adapter.fft"
        convert(
            *(workspace.adapter(name), "--to", "fft"),
            *("--base", workspace.safetensors(), "-o", output),
        )

    return once(workspace.folder / f"fft-{name}", make) / "adapter.fft"


def live(workspace: Workspace, form: str, *options: str) -> Path:
    """Return a built folder made live, and the case's adapters beside its graph."""
    names = workspace.case.adapters

    def make(folder: Path) -> None:
        sources = [fft_of(workspace, name) for name in names]
        graph = folder / "graph"
        convert(
            *(sources[0], "--to", "onnx", "--live", *options),
            *("--base", built(workspace, form), "-o", graph),
        )
        for name, source in zip(names, sources, strict=True):
            output = folder / f"{name}.onnx_adapter"
            convert(source, "--to", "onnx-adapter", "--base", graph, "-o", output)

    return once(workspace.folder / "-".join(("live", form, *options)), make)


def serving(workspace: Workspace, form: str, *options: str) -> Generating:
    """Return the live graph with the case's adapters loaded."""
    folder = live(workspace, form, *options)
    files = {name: folder / f"{name}.onnx_adapter" for name in workspace.case.adapters}
    return Generating(folder / "graph", **files)


def peft(workspace: Workspace, form: str, name: str = "default") -> PeftModel:
    """Return the adapted model in torch, on the very weights that the built graph holds."""
    model = load_adapted(workspace.case, workspace.adapter(name))
    put(_rounded(workspace, form), model.get_base_model())
    return model


def base(workspace: Workspace, form: str) -> PreTrainedModel:
    """Return the base likewise."""
    model = build_base(workspace.case)
    put(_rounded(workspace, form), model)
    return model


def _rounded(workspace: Workspace, form: str) -> dict[str, torch.Tensor]:
    if form.startswith("fp32"):
        return {}
    path = built(workspace, form) / "model.onnx"
    return rounded_layers(path, build_base(workspace.case).config)


def assert_same(got: Generated, expected: Generated) -> None:
    """The same tokens, and logits as near as float32 has them."""
    error = compare(expected.logits, got.logits)
    figures.info("logits off by %.1e", error)
    assert got.tokens == expected.tokens
    assert error <= ONNX_OUTPUT_F32


@pytest.mark.parametrize(("name", "form"), _FORMS)
def test_with_an_adapter_it_generates_what_peft_does(
    name: str, form: str, workspace_of: WorkspaceOf
) -> None:
    """A quantised base: what PEFT does on its rounded weights."""
    workspace = workspace_of(name)

    got = serving(workspace, form).generate(adapter="default")

    assert_same(got, torch_generate(peft(workspace, form)))
    assert got.tokens != torch_generate(base(workspace, form)).tokens


@pytest.mark.parametrize(("name", "form"), _FORMS)
def test_without_one_it_is_the_base_to_the_bit(
    name: str, form: str, workspace_of: WorkspaceOf
) -> None:
    """No adapter was ever loaded; and one is, but not set."""
    workspace = workspace_of(name)
    folder = live(workspace, form) / "graph"

    expected = Generating(built(workspace, form)).generate()

    for served in (Generating(folder), serving(workspace, form)):
        got = served.generate()
        assert got.tokens == expected.tokens
        assert np.array_equal(got.logits, expected.logits)
