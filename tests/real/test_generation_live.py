"""One live graph in onnxruntime-genai: whichever adapter is set, it generates what PEFT does."""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

from collections.abc import Iterable
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
from tests.tolerances import HALF_ERROR_RATIO, ONNX_OUTPUT_F32, THIRTY_LAYERS_F32

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
_FRANCE = (504, 3575, 282, 4649, 314)  # The capital of France is
_PROMPTS = (PROMPT, (1, 44, 3, 22, 61, 70), (1, 9, 8, 7, 6, 5))


def fft_of(workspace: Workspace, name: str = "default") -> Path:
    """Return the adapter's .fft, which knows its base."""

    def make(folder: Path) -> None:
        base = workspace.safetensors()
        convert(
            workspace.adapter(name), "--to", "fft", "--base", base, "-o", folder / "adapter.fft"
        )

    return once(workspace.folder / f"fft-{name}", make) / "adapter.fft"


def live(workspace: Workspace, form: str, *options: str) -> Path:
    """Return a built folder made live, and the case's adapters beside its graph."""
    names = workspace.case.adapters

    def make(folder: Path) -> None:
        sources = [fft_of(workspace, name) for name in names]
        graph = folder / "graph"
        of = built(workspace, form)
        convert(sources[0], "--to", "onnx", "--live", *options, "--base", of, "-o", graph)
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
    if form.startswith("fp"):
        return {}
    path = built(workspace, form) / "model.onnx"
    return rounded_layers(path, build_base(workspace.case).config)


def assert_same(got: Generated, expected: Generated, tolerance: float = ONNX_OUTPUT_F32) -> None:
    """The same tokens, and logits as near as float32 has them."""
    error = compare(expected.logits, got.logits)
    figures.info("logits off by %.1e, tokens %s", error, got.tokens)
    assert got.tokens == expected.tokens
    assert error <= tolerance


def taken(sequence: Iterable[int], expected: list[int], model: PreTrainedModel) -> list[int]:
    """Return what genai has of a row: it leaves out the end, and pads rows that end early."""
    tokens, (*before, last) = list(map(int, sequence)), expected
    ended = all(token == model.config.pad_token_id for token in tokens[len(before) :])
    return [*tokens[: len(before)], last] if ended and last == model.config.eos_token_id else tokens


@pytest.mark.parametrize(("name", "form"), _FORMS)
def test_with_an_adapter_it_generates_what_peft_does(
    name: str, form: str, workspace_of: WorkspaceOf
) -> None:
    """A quantised base: what PEFT does on its rounded weights."""
    workspace = workspace_of(name)
    prompt, bar = (_FRANCE, THIRTY_LAYERS_F32) if name == _REAL else (PROMPT, ONNX_OUTPUT_F32)

    got = serving(workspace, form).generate(prompt, "default")

    assert_same(got, torch_generate(peft(workspace, form), prompt), bar)
    assert got.tokens != torch_generate(base(workspace, form), prompt).tokens


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


@pytest.mark.parametrize("form", ["fp32", "int4"])
@pytest.mark.parametrize("pieces", [2, len(PROMPT)])
def test_the_prompt_may_come_in_pieces(form: str, pieces: int, workspace_of: WorkspaceOf) -> None:
    """Keys and values of what came before are kept with the adapter in them."""
    workspace = workspace_of(_TWO)

    got = serving(workspace, form).generate(adapter="default", pieces=pieces)

    assert_same(got, torch_generate(peft(workspace, form)))


@pytest.mark.parametrize("form", ["fp32", "int4"])
def test_generators_of_one_model_have_each_their_own(form: str, workspace_of: WorkspaceOf) -> None:
    """One token of each in turn: two adapters and the base."""
    workspace = workspace_of(_TWO)
    models = {
        "default": peft(workspace, form),
        "formal": peft(workspace, form, "formal"),
        None: base(workspace, form),
    }
    served = serving(workspace, form)
    generators = {name: served.generator(1, len(PROMPT), name) for name in models}
    for generator in generators.values():
        generator.append_tokens(np.array([PROMPT], np.int32))
    while not all(generator.is_done() for generator in generators.values()):
        for generator in generators.values():
            if not generator.is_done():
                generator.generate_next_token()

    found = set()
    for name, model in models.items():
        expected = torch_generate(model).tokens
        row = generators[name].get_sequence(0)
        assert taken(row, expected, model) == expected
        found.add(tuple(expected))
    assert len(found) == len(models)


@pytest.mark.parametrize("form", ["fp32", "int4"])
def test_every_row_of_a_batch_has_the_adapter(form: str, workspace_of: WorkspaceOf) -> None:
    workspace = workspace_of(_TWO)
    model = peft(workspace, form, "formal")
    generator = serving(workspace, form).generator(len(_PROMPTS), len(PROMPT), "formal")
    generator.append_tokens(np.array(_PROMPTS, np.int32))
    while not generator.is_done():
        generator.generate_next_token()

    for row, prompt in enumerate(_PROMPTS):
        expected = torch_generate(model, prompt).tokens
        assert taken(generator.get_sequence(row), expected, model) == expected


def test_every_beam_has_the_adapter(workspace_of: WorkspaceOf) -> None:
    """As transformers searches with PEFT's model."""
    workspace = workspace_of(_TWO)
    model = peft(workspace, "fp32")
    ids = torch.tensor([PROMPT])

    generator = serving(workspace, "fp32").generator(1, len(PROMPT), "default", num_beams=3)
    generator.append_tokens(np.array([PROMPT], np.int32))
    while not generator.is_done():
        generator.generate_next_token()

    (expected,) = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        num_beams=3,
        do_sample=False,
        max_new_tokens=8,
        early_stopping=True,
        pad_token_id=model.config.pad_token_id,
    ).tolist()
    assert taken(generator.get_sequence(0), expected, model) == expected


@pytest.mark.parametrize("form", ["fp32", "int4"])
def test_the_static_form_generates_the_same(form: str, workspace_of: WorkspaceOf) -> None:
    workspace = workspace_of(_TWO)
    served = serving(workspace, form, "--static")

    for name in workspace.case.adapters:
        assert_same(served.generate(adapter=name), torch_generate(peft(workspace, form, name)))
    assert_same(served.generate(), torch_generate(base(workspace, form)))


@pytest.mark.parametrize("options", [(), ("--static",)])
def test_in_float16_it_is_about_as_exact_as_the_merged_graph(
    options: tuple[str, ...], workspace_of: WorkspaceOf, tmp_path: Path
) -> None:
    """Or as the base, where that is less exact.

    Nothing fed, it is not the base to the bit here: on a CPU, ONNX Runtime computes float16 in
    float32, and rounds between fewer nodes where no If stands between them.
    """
    workspace = workspace_of(_ALL)
    of, merged = built(workspace, "fp16"), tmp_path / "merged"
    convert(fft_of(workspace), "--to", "onnx", "--base", of, "-o", merged)
    plain, adapted = (torch_generate(m(workspace, "fp16")) for m in (base, peft))
    own = compare(plain.logits, Generating(of).generate().logits)
    peer = compare(adapted.logits, Generating(merged).generate().logits)
    served = serving(workspace, "fp16", *options)

    for name, expected in ((None, plain), ("default", adapted)):
        got = served.generate(adapter=name)
        error = compare(expected.logits, got.logits)
        figures.info("%s: base %.1e, merged %.1e, live %.1e", name, own, peer, error)
        assert got.tokens == expected.tokens
        assert error <= HALF_ERROR_RATIO * (own if name is None else max(own, peer))
