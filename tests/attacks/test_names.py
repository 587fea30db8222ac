"""Names, metadata and nesting that are made to fool whoever reads them."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from onnx import helper

from tests.attacks.attack import Attack, W, linear
from tests.fourier_converters.graphs import model, set_scopes


class TestNames:
    @pytest.mark.parametrize(
        "value",
        [
            *("[", "[]", "['']", "['', '']", "[1, 2]", "{}", "q", "['q', 'q', None]", "'q'"),
            *("[" * 100_000, "(" * 100 + ")" * 100, "-" * 100_000 + "1", "['q'] * 10**9"),
            *("__import__('os').system('touch pwned')", "[open('/etc/passwd').read(), 'q', 1]"),
            *("['\\ud800', '\\ud800', 1]", "\0", "['\0', '\0', 'x']", "9" * 100_000),
            *("['', 'q\x1b[2J', 'linear']", "['', 'x" + "x" * 1_000_000 + "', 'linear']"),
            "{" * 50 + "1" + "}" * 50,
        ],
        ids=lambda text: ascii(text[:20]),
    )
    def test_scopes_are_read_as_data_and_never_run(self, value: str, attack: Attack) -> None:
        made = linear()
        made.graph.node[0].ClearField("metadata_props")
        set_scopes(made.graph.node[0], value)
        attack.inline(made)

        assert attack.bear() is None  # the fingerprint says which weight it is

    def test_scopes_twice_are_harmless(self, attack: Attack) -> None:
        made = linear()
        for value in ("['', 'other', 'linear']", "['', 'q', 'linear']"):
            set_scopes(made.graph.node[0], value)
        attack.inline(made)

        attack.bear()

    @pytest.mark.parametrize(
        "name", ["\x1b]0;title\x07", "a\nfourier-convert: error: forged", "\u202eq", "\0", "\r"]
    )
    def test_control_characters_in_names_are_escaped(self, name: str, attack: Attack) -> None:
        made = linear({"v": W.T})
        made.graph.node[0].name = name
        made.graph.node[0].ClearField("metadata_props")
        made.graph.node.append(helper.make_node("MatMul", ["x", "v"], ["z"], name=name))
        for tensor in made.graph.initializer:
            tensor.name += name
        for node in made.graph.node:
            node.input[1] += name
        attack.inline(made)

        error = attack.refuse()

        assert ascii(name)[1:-1].replace("'", "") in error

    @pytest.mark.parametrize("kind", ["initializer", "node", "input"])
    def test_a_name_twice_is_refused_or_harmless(self, kind: str, attack: Attack) -> None:
        made = linear()
        if kind == "initializer":
            made.graph.initializer.append(made.graph.initializer[0])
        elif kind == "node":
            made.graph.node.append(made.graph.node[0])
        else:
            made.graph.input.append(made.graph.input[0])
        attack.inline(made)

        attack.bear()


class TestNesting:
    @pytest.mark.parametrize("depth", [1, 10, 25, 30])
    def test_subgraphs_as_deep_as_protobuf_reads_are_borne(
        self, depth: int, attack: Attack
    ) -> None:
        made = linear()
        made.graph.node.append(_nested(depth))
        attack.inline(made)

        attack.bear()

    @pytest.mark.parametrize("depth", [40, 1000, 100_000])
    def test_deeper_ones_are_no_model(self, depth: int, attack: Attack) -> None:
        """ModelProto.graph 7, GraphProto.node 1, NodeProto.attribute 5, AttributeProto.g 6."""
        attack.inline(linear())
        content = b""
        for number in (6, 5, 1) * depth:
            content = _field(number, content)
        attack.base.write_bytes(attack.base.read_bytes() + _field(7, content))

        assert "not an ONNX model" in attack.refuse(exit_code=1)


def _nested(depth: int) -> Any:
    inner = model("g () => (float[32, 48] o) { o = Identity (w) }", {}).graph
    for _ in range(depth):
        node = helper.make_node("If", ["condition"], ["o"], then_branch=inner)
        inner = onnx.GraphProto(node=[node])
    return inner.node[0]


def _field(number: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content
