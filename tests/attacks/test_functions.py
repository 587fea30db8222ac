"""Model-local functions that never come to an end, or to one of a billion nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper, parser

from tests.attacks.attack import WHOLE, Attack, W
from tests.fourier_converters.adapters import delta
from tests.fourier_converters.graphs import matrix


def function(name: str, calls: list[str], *, multiplies: bool = False) -> Any:
    """Returns a function (a, w) -> b that calls others one after another."""
    nodes = [
        helper.make_node(other, [f"t{i}" if i else "a", "w"], [f"t{i + 1}"], domain="d")
        for i, other in enumerate(calls)
    ]
    last = f"t{len(calls)}" if calls else "a"
    nodes.append(helper.make_node("MatMul" if multiplies else "Add", [last, "w"], ["b"]))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("d", 1)]
    return helper.make_function("d", name, ["a", "w"], ["b"], nodes, opsets)


def calling(first: str, *functions: Any) -> Any:
    proto = parser.parse_model(
        '<ir_version: 10, opset_import: ["": 20, "d": 1]>'
        f"g (float[N, 32] x) => (float[N, 48] y) {{ y = d.{first} (x, w) }}"
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(W.T), "w"))
    proto.functions.extend(functions)
    return proto


def chain(length: int, calls: int) -> list[Any]:
    """Returns functions of which each calls the next one `calls` times."""
    inner = [function(f"F{i}", [f"F{i + 1}"] * calls) for i in range(length)]
    return [*inner, function(f"F{length}", [], multiplies=True)]


class TestRecursion:
    @pytest.mark.parametrize(
        "calls", [{"A": "A"}, {"A": "B", "B": "A"}, {"A": "B", "B": "C", "C": "B"}]
    )
    def test_functions_that_call_themselves_are_refused(
        self, calls: dict[str, str], attack: Attack
    ) -> None:
        made = [function(name, [other], multiplies=True) for name, other in calls.items()]
        attack.inline(calling("A", *made))

        assert "its functions call themselves: " in attack.refuse(exit_code=1)

    def test_a_call_in_a_branch_counts(self, attack: Attack) -> None:
        made = function("A", [], multiplies=True)
        branch = helper.make_graph(
            [helper.make_node("A", ["a", "w"], ["o"], domain="d")],
            "branch",
            [],
            [helper.make_tensor_value_info("o", 1, None)],
        )
        made.node.append(
            helper.make_node("If", ["c"], ["r"], then_branch=branch, else_branch=branch)
        )
        attack.inline(calling("A", made))

        assert "its functions call themselves: A -> A" in attack.refuse(exit_code=1)

    def test_recursion_where_no_weight_can_be_read_is_left_alone(self, attack: Attack) -> None:
        attack.inline(calling("A", function("A", ["A"])))

        assert "no weight of the graph" in attack.refuse(exit_code=1)


class TestBombs:
    @pytest.mark.parametrize(("length", "calls"), [(30, 2), (20, 3), (3000, 2), (5000, 1)])
    def test_what_would_fill_the_memory_is_refused_at_once(
        self, length: int, calls: int, attack: Attack
    ) -> None:
        """Thirty functions that call the next one twice took 2.6 GB and 35 s, and then failed."""
        attack.inline(calling("F0", *chain(length, calls)))

        assert "would become more than 250000 nodes" in attack.refuse(exit_code=1)

    def test_a_function_that_is_called_often_is_counted_as_often(self, attack: Attack) -> None:
        made = calling("F", function("F", [], multiplies=True))
        made.functions[0].node.extend([made.functions[0].node[0]] * 1000)
        made.graph.node.extend([made.graph.node[0]] * 300)
        attack.inline(made)

        assert "would become more than 250000 nodes" in attack.refuse(exit_code=1)

    def test_a_long_chain_is_refused_or_harmless(self, attack: Attack) -> None:
        """onnx's inliner has a limit of its own, of a hundred."""
        attack.inline(calling("F0", *chain(300, 1)))

        attack.bear()


class TestBroken:
    @pytest.mark.parametrize("inputs", [["x"], ["x", "w", "w"], [], ["x", ""]])
    def test_a_call_of_another_number_of_inputs_is_refused_or_harmless(
        self, inputs: list[str], attack: Attack
    ) -> None:
        made = calling("A", function("A", [], multiplies=True))
        del made.graph.node[0].input[:]
        made.graph.node[0].input.extend(inputs)
        attack.inline(made)

        attack.bear()

    def test_one_name_twice_is_refused_or_harmless(self, attack: Attack) -> None:
        attack.inline(calling("A", *[function("A", [], multiplies=True)] * 2))

        attack.bear()

    def test_another_opset_than_the_model_is_refused_or_harmless(self, attack: Attack) -> None:
        made = calling("A", function("A", [], multiplies=True))
        made.functions[0].opset_import[0].version = 7
        attack.inline(made)

        attack.bear()


def test_sound_functions_are_merged(attack: Attack) -> None:
    """So the refusals above are about what is wrong with those."""
    made = calling("A", function("A", [], multiplies=True))
    attack.inline(made)
    assert attack.bear() is None

    attack.keep()

    assert np.allclose(matrix(attack.output, 32), W + delta(WHOLE, "q"), atol=2e-6)


def test_a_function_that_is_called_like_an_operator_may_have_fewer_inputs(attack: Attack) -> None:
    """Modules become functions of their classes' names, such as Attention."""
    made = calling("Attention", function("Attention", [], multiplies=True))
    made.functions[0].input.pop()
    made.functions[0].node[0].input[1] = "a"
    made.graph.node[0].input.pop()
    made.graph.node.append(helper.make_node("MatMul", ["x", "w"], ["z"]))
    attack.inline(made)

    assert attack.bear() is None
