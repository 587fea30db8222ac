"""The model builder's graphs: they generate what transformers does, token by token."""

from collections import Counter
from collections.abc import Mapping

import onnx
import pytest

from tests.real.checks import compare, figures
from tests.real.generation import built, generate, rounded_layers, torch_generate
from tests.real.rounded import put
from tests.real.workspace import WorkspaceOf, build_base, load_adapted
from tests.tolerances import ONNX_OUTPUT_F32

pytestmark = pytest.mark.real
_PLAIN, _TIED = "llama-generating", "llama-generating-tied"
_HALF = 1e-2
_OPERATORS: list[tuple[str, str, Mapping[str, int]]] = [
    (_PLAIN, "fp32", {"MatMul": 11, "GroupQueryAttention": 2}),
    (_PLAIN, "fp32-unpacked", {"MatMul": 15, "GroupQueryAttention": 2}),
    (_PLAIN, "fp32-packed-mlp", {"MatMul": 9, "Split": 2}),
    (_PLAIN, "fp16", {"MatMul": 11, "GroupQueryAttention": 2}),
    (_PLAIN, "int4", {"MatMulNBits": 11}),
    (_PLAIN, "int4-asymmetric", {"MatMulNBits": 11}),
    (_PLAIN, "int4-unpacked", {"MatMulNBits": 15}),
    (_PLAIN, "int4-rtn", {"MatMulNBits": 11}),
    (_PLAIN, "int4-qdq", {"DequantizeLinear": 11, "MatMul": 11}),
    (_PLAIN, "int4-embedding", {"MatMulNBits": 11, "GatherBlockQuantized": 1}),
    (_PLAIN, "int8", {"MatMulNBits": 11}),
    (_TIED, "fp32-shared", {"Transpose": 1, "MatMul": 11}),
    (_TIED, "int4", {"GatherBlockQuantized": 1, "MatMulNBits": 11}),
]


@pytest.mark.parametrize(("name", "form", "operators"), _OPERATORS)
def test_built_graph_holds_its_operators(
    name: str, form: str, operators: Mapping[str, int], workspace_of: WorkspaceOf
) -> None:
    """The builder packs, shares and quantises as each form says."""
    path = built(workspace_of(name), form) / "model.onnx"

    graph = onnx.load(path, load_external_data=False).graph

    found = Counter(node.op_type for node in graph.node)
    assert {operator: found[operator] for operator in operators} == operators
    assert all(tensor.external_data for tensor in graph.initializer)
    assert not any(node.metadata_props for node in graph.node)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        (_PLAIN, "fp32"),
        (_PLAIN, "fp32-unpacked"),
        (_PLAIN, "fp32-packed-mlp"),
        (_PLAIN, "fp16"),
        (_TIED, "fp32-shared"),
    ],
)
def test_it_generates_what_transformers_does(
    name: str, form: str, workspace_of: WorkspaceOf
) -> None:
    """The same greedy tokens from the same checkpoint."""
    workspace = workspace_of(name)

    got, expected = generate(built(workspace, form)), torch_generate(build_base(workspace.case))

    error = compare(expected.logits, got.logits)
    figures.info("logits off by %.1e", error)
    assert got.tokens == expected.tokens
    assert error <= (_HALF if form == "fp16" else ONNX_OUTPUT_F32)


@pytest.mark.parametrize("form", ["int4", "int4-asymmetric", "int4-rtn", "int4-qdq", "int8"])
def test_quantised_it_generates_what_the_rounded_weights_do(
    form: str, workspace_of: WorkspaceOf
) -> None:
    """The graph's own weights in transformers: the reference for what is merged into it."""
    workspace = workspace_of(_PLAIN)
    folder = built(workspace, form)
    model = build_base(workspace.case)
    put(rounded_layers(folder / "model.onnx", model.config), model)

    got, expected = generate(folder), torch_generate(model)

    error = compare(expected.logits, got.logits)
    figures.info("logits off by %.1e", error)
    assert got.tokens == expected.tokens
    assert error <= ONNX_OUTPUT_F32


@pytest.mark.parametrize("name", [_PLAIN, _TIED])
def test_the_adapter_changes_the_text(name: str, workspace_of: WorkspaceOf) -> None:
    """A merge that is forgotten shows in the tokens."""
    workspace = workspace_of(name)
    base = torch_generate(build_base(workspace.case))

    adapted = torch_generate(load_adapted(workspace.case, workspace.adapter()))

    assert adapted.tokens != base.tokens
