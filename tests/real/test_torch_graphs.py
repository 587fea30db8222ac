"""Layers in subgraphs, in functions, and of other kinds than Linear: the graphs themselves."""

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import onnx
import pytest

from tests.real.checks import compare, figures, run_onnx
from tests.real.torch_graphs import TORCH_SAMPLES, TorchGraphOf
from tests.tolerances import ONNX_OUTPUT_F32

pytestmark = pytest.mark.real


@pytest.mark.parametrize("name", TORCH_SAMPLES)
def test_export_computes_what_torch_does(name: str, torch_graph_of: TorchGraphOf) -> None:
    """On every way through the model."""
    graph = torch_graph_of(name)

    expected = graph.adapted({})

    for inputs, output in zip(graph.inputs(), expected, strict=True):
        (got,) = run_onnx(graph.model, inputs)
        figures.info("off by %.1e", compare(output, got))
        assert compare(output, got) <= ONNX_OUTPUT_F32


@pytest.mark.parametrize("name", TORCH_SAMPLES)
def test_export_holds_its_operators(name: str, torch_graph_of: TorchGraphOf) -> None:
    """The layers are where the sample says: in branches, bodies and functions."""
    graph = torch_graph_of(name)
    model = onnx.load(graph.model)
    bodies = [model.graph.node, *(function.node for function in model.functions)]

    found = Counter(node.op_type for body in bodies for node in _all_nodes(body))

    assert {name: found[name] for name in graph.sample.operators} == graph.sample.operators


@pytest.mark.parametrize("name", TORCH_SAMPLES)
def test_every_weight_shows_in_some_output(name: str, torch_graph_of: TorchGraphOf) -> None:
    """A delta that is left out, or put in one branch only, is noticed."""
    graph = torch_graph_of(name)
    base = graph.adapted({})

    for path, weight in graph.targets().items():
        moved = graph.adapted({path: np.full_like(weight, 0.1)})
        assert max(map(compare, base, moved)) > 0.01, path


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            yield from _all_nodes(attribute.g.node)
