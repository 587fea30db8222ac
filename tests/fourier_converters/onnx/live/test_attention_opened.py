"""A fused Attention, opened: what it computed, and what it computes with terms in q, k and v."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fourier_converters.onnx.live.attention import refusal
from fourier_format.adapter import Array
from tests.fourier_converters.graphs import rng
from tests.fourier_converters.onnx.live import attentions
from tests.fourier_converters.onnx.live.attentions import (
    HEADS,
    IN,
    ROWS,
    SIZES,
    TOKENS,
    Fused,
    attention,
    compare,
    normal,
    open_node,
    worst,
)
from tests.tolerances import ATTENTION_OPENED_F32, LIVE_ATTENTION_F32

WIDTH: Final = sum(SIZES)
PAST: Final = 4


def masked(*shape: int) -> Array:
    """Returns a mask in which every query sees the first key, and some of the others."""
    mask = (rng(4).random(shape) > 0.4).astype(np.int32)
    mask[..., 0] = 1
    return mask


MASKS: Final[dict[str, dict[str, Array]]] = {
    "none": {},
    "lengths": {"mask": np.array([2, 5, 1], np.int32)},
    "lengths-and-starts": {
        "mask": np.array([2, 5, 3, 0, 5, 10, 15, 0, 5, 10, 15], np.int32),
    },
    "keys": {"mask": masked(ROWS, TOKENS)},
    "queries-and-keys": {"mask": masked(ROWS, TOKENS, TOKENS)},
}
BIASES: Final[dict[str, dict[str, Array]]] = {
    f"{rows}x{heads}": {"bias": normal(rows, heads, TOKENS, TOKENS, seed=5)}
    for rows in (1, ROWS)
    for heads in (1, HEADS)
}
ATTRIBUTES: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "scaled": {"scale": 0.3},
    "weak-mask": {"mask_filter_value": -3.0},
    "unidirectional": {"unidirectional": 1},
    "all": {"scale": 0.7, "mask_filter_value": -2.0, "unidirectional": 1},
}
CASES: Final[dict[str, Fused]] = {
    f"{mask}-{attributes}": Fused(fed=MASKS[mask], attributes=ATTRIBUTES[attributes])
    for mask in MASKS
    for attributes in ATTRIBUTES
}
CASES.update({f"bias-{name}": Fused(fed=bias) for name, bias in BIASES.items()})
CASES.update(
    {f"bias-and-{mask}": Fused(fed=BIASES["3x2"] | MASKS[mask]) for mask in MASKS if mask != "none"}
)
CASES.update(
    {
        "values-wider": Fused(fed=MASKS["keys"], sizes=(8, 8, 14)),
        "values-narrower": Fused(fed={}, sizes=(8, 8, 4)),
        "no-bias": Fused(fed=MASKS["keys"], biased=False),
        "one-token": Fused(
            fed={"x": normal(ROWS, 1, IN), "past": normal(2, ROWS, HEADS, PAST, 4)},
            attributes={"unidirectional": 1},
            present=True,
        ),
        "past": Fused(
            fed={
                "past": normal(2, ROWS, HEADS, PAST, 4, seed=7),
                "mask": masked(ROWS, PAST + TOKENS),
            },
            attributes={"unidirectional": 1},
            present=True,
        ),
        "present-alone": Fused(fed={}, attributes={"unidirectional": 1}, present=True),
    }
)


def terms_of(case: Fused, *columns: tuple[int, int]) -> dict[tuple[int, int], Array]:
    tokens = case.values["x"].shape[1]
    return {
        (first, end): normal(ROWS, tokens, end - first, seed=20 + at)
        for at, (first, end) in enumerate(columns)
    }


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_the_node_does(name: str) -> None:
    case = CASES[name]
    known = {key: value.shape for key, value in case.values.items()}

    assert refusal(case.node(), known, sum(case.sizes)) is None
    assert worst(case.run(), case.run_opened({})) <= ATTENTION_OPENED_F32


@pytest.mark.parametrize("dims", [(ROWS,), (ROWS, TOKENS), (ROWS, TOKENS, TOKENS)])
@pytest.mark.parametrize("unidirectional", [0, 1])
def test_rows_in_which_nothing_is_seen_are_what_the_node_makes_of_them(
    dims: tuple[int, ...], unidirectional: int
) -> None:
    """Scores near -10000 in float32 keep three digits: float64 says nothing about such rows."""
    mask = {"mask": np.zeros(dims, np.int32)}
    case = Fused(fed=mask, attributes={"unidirectional": unidirectional})

    assert worst(case.run(), case.run_opened({})) <= ATTENTION_OPENED_F32


@pytest.mark.parametrize("name", CASES)
def test_terms_are_added_to_queries_keys_and_values(name: str) -> None:
    case = CASES[name]
    q, k, v = case.sizes
    terms = terms_of(case, (0, q), (q, q + k), (q + k, q + k + v))

    got = case.run_opened(terms)

    assert compare(attention(case, terms), got[0]) <= LIVE_ATTENTION_F32


COLUMNS: Final = [
    *[((0, 8),), ((8, 16),), ((16, 24),), ((0, 24),), ((0, 16),)],
    *[((3, 5), (4, 20)), ((0, 8), (0, 24))],
]


@pytest.mark.parametrize("columns", COLUMNS, ids=str)
@pytest.mark.parametrize("opset", [9, 11, 13, 20])
def test_a_term_is_added_to_its_own_columns(
    columns: tuple[tuple[int, int], ...], opset: int
) -> None:
    case = CASES["keys-plain"]
    terms = terms_of(case, *columns)

    (got,) = case.run_opened(terms, opset)

    assert compare(attention(case, terms), got) <= LIVE_ATTENTION_F32
    assert compare(attention(case, {}), got) > 0.05


def test_two_terms_of_the_same_columns_are_both_added() -> None:
    case = CASES["keys-plain"]
    first, second = normal(ROWS, TOKENS, 8, seed=1), normal(ROWS, 1, 8, seed=2)
    nodes = open_node(case.node(), [((0, 8), "t"), ((0, 8), "u")], WIDTH)

    (got,) = case.outputs(nodes, t=first, u=second)

    assert compare(attention(case, {(0, 8): first + second}), got) <= LIVE_ATTENTION_F32


@pytest.mark.parametrize("opset", [9, 13])
def test_present_holds_the_terms(opset: int) -> None:
    """What later tokens attend to is what the adapter made of keys and values."""
    case = CASES["past"]
    terms = terms_of(case, (8, 16), (16, 24))
    values = case.values
    packed = values["x"].astype(np.float64) @ values["w"] + values["b"]
    packed[..., 8:16] += terms[8, 16]
    packed[..., 16:24] += terms[16, 24]
    new = packed[..., 8:].reshape(ROWS, TOKENS, 2, HEADS, 4).transpose(2, 0, 3, 1, 4)

    _, present = case.run_opened(terms, opset)

    assert np.array_equal(present[:, :, :, :PAST], values["past"])
    assert compare(new, present[:, :, :, PAST:]) <= LIVE_ATTENTION_F32


@pytest.mark.parametrize("fed", [False, True])
def test_in_an_if_the_untouched_node_is_bit_equal(fed: bool) -> None:
    """Both branches read the weight and the bias of the graph outside."""
    case = CASES["keys-plain"]
    term = terms_of(case, (0, 8))[0, 8]
    branches = {}
    for key in ("then_branch", "else_branch"):
        node = case.node()
        node.output[0] = key
        nodes = open_node(node, [((0, 8), "t")], WIDTH) if key == "then_branch" else [node]
        result = helper.make_tensor_value_info(key, onnx.TensorProto.FLOAT, None)
        branches[key] = helper.make_graph(nodes, key, [], [result])
    given = case.values | {"t": term, "fed": np.array(fed)}
    constants = [numpy_helper.from_array(given.pop(name), name) for name in ("w", "b")]
    inputs = [attentions.info(name, value) for name, value in given.items()]
    result = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    choice = helper.make_node("If", ["fed"], ["y"], **branches)
    graph = helper.make_graph([choice], "g", inputs, [result], constants)

    (got,) = attentions.run(graph, given)

    if fed:
        assert compare(attention(case, {(0, 8): term}), got) <= LIVE_ATTENTION_F32
    else:
        assert np.array_equal(got, case.run()[0])


@pytest.mark.parametrize(
    ("fed", "problem"),
    [
        ({"mask": np.zeros(2 * ROWS, np.int32)}, "no ends and starts of rows"),
        ({"mask": np.zeros((ROWS, 1), np.int32)}, "no mask of one value a row"),
        ({"mask": np.zeros((1, 1), np.int32)}, "no mask of one value a row"),
        ({"mask": np.zeros((ROWS, 1, 8, 8), np.int32)}, "no mask of 4 axes"),
    ],
)
def test_a_mask_that_multi_head_attention_does_not_take_is_refused(
    fed: dict[str, Array], problem: str
) -> None:
    case = Fused(fed=fed)
    known = {key: value.shape for key, value in case.values.items()}

    found = refusal(case.node(), known, WIDTH)

    assert found is not None
    assert found.code == "E-CONVERSION-UNSUPPORTED"
    assert found.where == "att.mask_index"
    assert problem in found.problem
    assert "--use_multi_head_attention" in str(found)
    with pytest.raises(Exception, match="key_padding_mask"):  # and never computes another thing
        case.run_opened({})


@pytest.mark.parametrize("known", [{}, {"mask": (None,), "x": (None, None, IN)}])
def test_what_is_not_known_is_not_refused(known: dict[str, Any]) -> None:
    assert refusal(Fused(fed=MASKS["lengths"]).node(), known, WIDTH) is None


@pytest.mark.parametrize(
    ("attributes", "where"),
    [
        ({"do_rotary": 1}, "att.do_rotary"),
        ({"past_present_share_buffer": 1}, "att.past_present_share_buffer"),
        ({"qkv_hidden_sizes": [8, 8, 4]}, "att.qkv_hidden_sizes"),
        ({"qkv_hidden_sizes": [4, 12, 8]}, "att.qkv_hidden_sizes"),
        ({"qkv_hidden_sizes": [0, 0, 24]}, "att.qkv_hidden_sizes"),
        ({"qkv_hidden_sizes": [12, 12]}, "att.qkv_hidden_sizes"),
        ({"softcap": 1.0}, "att.softcap"),
    ],
)
def test_an_attribute_that_multi_head_attention_lacks_is_refused(
    attributes: dict[str, Any], where: str
) -> None:
    found = refusal(Fused(fed={}, attributes=attributes).node(), {}, WIDTH)

    assert found is not None
    assert found.where == where


def test_a_packed_product_that_three_does_not_divide_is_refused() -> None:
    found = refusal(Fused(fed={}).node(), {}, WIDTH + 1)

    assert found is not None
    assert found.where == "att.qkv_hidden_sizes"


@pytest.mark.parametrize(("slots", "where"), [(7, "past_sequence_length"), (8, "inputs")])
def test_an_input_that_multi_head_attention_lacks_is_refused(slots: int, where: str) -> None:
    node = Fused(fed={}).node()
    node.input.extend([""] * (slots - 1 - len(node.input)) + ["more"])

    found = refusal(node, {}, WIDTH)

    assert found is not None
    assert found.where == f"att.{where}"


@pytest.mark.parametrize(
    ("operator", "domain", "said"),
    [
        ("QAttention", "com.microsoft", "com.microsoft.QAttention is not opened: a quantised"),
        ("PackedAttention", "com.microsoft", "com.microsoft.PackedAttention is not opened: fused"),
        ("DecoderMaskedSelfAttention", "com.microsoft", "fused attention with a packed weight"),
        ("LongformerAttention", "com.microsoft", "fused attention with packed weights"),
        ("Attention", "", "Attention is not opened"),
    ],
)
def test_another_operator_is_refused_by_name(operator: str, domain: str, said: str) -> None:
    node = helper.make_node(operator, ["x", "w", "b"], ["y"], domain=domain, num_heads=2)

    found = refusal(node, {}, WIDTH)

    assert found is not None
    assert found.where == "y.op_type"
    assert said in found.problem
