"""A real encoder, fused by ONNX Runtime's optimizer, with every Attention opened."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
from transformers import AutoModel

from fourier_converters.onnx.live.attention import opened, refusal
from tests.fourier_converters.graphs import save
from tests.fourier_converters.onnx.live.attentions import fresh
from tests.real.bases import MINILM
from tests.real.cases import example_inputs
from tests.real.checks import run_onnx, worst
from tests.real.exports import Export, export
from tests.real.rewrites import Job, rewrite
from tests.tolerances import HALF_ERROR_RATIO, ONNX_OUTPUT_F32


@pytest.mark.real
def test_minilm_computes_the_same_with_every_attention_opened(tmp_path: Path) -> None:
    """In float16 as near to float32 as the fused graph itself: both round, at other places."""
    base = AutoModel.from_pretrained(MINILM, attn_implementation="eager").eval()
    arrays = {name: value.numpy() for name, value in example_inputs(base).items()}
    exported = tmp_path / "exported.onnx"
    export(base, example_inputs(base), exported, Export(exporter="torchscript", dynamic=True))
    results = {}
    for tool in ("fused", "fused-float16"):
        fused = tmp_path / f"{tool}.onnx"
        rewrite(tool, Job(source=exported, target=fused, config=base.config, inputs=arrays))
        results[tool] = run_onnx(fused, arrays)
        results[f"{tool}-opened"] = run_onnx(with_attentions_opened(fused), arrays)
    plain = results["fused"]

    assert worst(plain, results["fused-opened"]) <= ONNX_OUTPUT_F32
    half = worst(plain, results["fused-float16"])
    assert worst(plain, results["fused-float16-opened"]) <= HALF_ERROR_RATIO * half


def with_attentions_opened(path: Path) -> Path:
    """Open every Attention of a MiniLM; returns the new model's path."""
    proto, names = onnx.load(path), fresh("opened.")
    (opset,) = [entry.version for entry in proto.opset_import if not entry.domain]
    weights = {tensor.name: tensor.dims for tensor in proto.graph.initializer}
    nodes = []
    for node in proto.graph.node:
        fused = node.op_type == "Attention"
        width = weights[node.input[1]][1] if fused else 0
        assert not fused or refusal(node, {}, width) is None
        nodes += opened(node, [], names, width=width, opset=opset) if fused else [node]
    assert Counter(node.op_type for node in nodes)["MultiHeadAttention"] == 6
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return save(proto, path.with_suffix(".opened.onnx"))
