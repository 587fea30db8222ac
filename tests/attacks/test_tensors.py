"""Tensors and quantised weights whose numbers do not fit together."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fourier_format.adapter import Array
from tests.attacks.attack import Attack, W, linear
from tests.fourier_converters.graphs import model
from tests.fourier_converters.graphs import save as save_model

INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)
DIMS = [
    *([], [0, 0], [-1, -1], [-32, -48], [32, -48], [32], [1536], [32, 48, 1], [48, 32]),
    *([2**31, 2**31], [2**32, 2**32], [2**62, 4], [INT64_MAX, INT64_MAX], [INT64_MIN, 2]),
    *([32, 48 + 2**32], [2**33, 2**31, 1536], [1] * 70 + [32, 48], [0, INT64_MAX]),
]
TYPES = [*range(-1, 30), 99, 2**31 - 1]


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("dims", DIMS, ids=lambda dims: str(dims[-4:]))
def test_dims_that_do_not_fit_the_bytes(dims: list[int], external: bool, attack: Attack) -> None:
    if external:
        attack.external()
    else:
        attack.inline(linear())
    made = onnx.load(attack.base, load_external_data=False)
    tensor = made.graph.initializer[0]
    del tensor.dims[:]
    tensor.dims.extend(dims)
    save_model(made, attack.base)

    error = attack.bear()

    assert (error is None) == (dims == [32, 48])


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("data_type", TYPES)
def test_data_types_of_any_number(data_type: int, external: bool, attack: Attack) -> None:
    if external:
        attack.external()
    else:
        attack.inline(linear())
    made = onnx.load(attack.base, load_external_data=False)
    made.graph.initializer[0].data_type = data_type
    save_model(made, attack.base)

    error = attack.bear()

    assert (error is None) == (data_type == 1)


@pytest.mark.parametrize("size", [0, 1, 6140, 6143, 6145, 12288])
def test_raw_data_of_a_wrong_length(size: int, attack: Attack) -> None:
    made = linear()
    made.graph.initializer[0].raw_data = bytes(size)
    attack.inline(made)

    attack.refuse(exit_code=1)


@pytest.mark.parametrize("field", ["float_data", "int32_data", "string_data", "double_data"])
def test_values_in_a_field_of_another_type(field: str, attack: Attack) -> None:
    made = linear()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    getattr(tensor, field).extend([b"1" if field == "string_data" else 1] * 1535)
    attack.inline(made)

    attack.refuse(exit_code=1)


@pytest.mark.parametrize("data_type", [1, 10, 16, 11, 6, 7, 8, 22, 99])
def test_a_gigantic_shape_without_values_costs_nothing(data_type: int, attack: Attack) -> None:
    made = linear()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_type = data_type
    del tensor.dims[:]
    tensor.dims.extend([2**31, 2**31])
    attack.inline(made)

    attack.refuse(exit_code=1)


def test_values_that_are_not_finite_are_refused(attack: Attack) -> None:
    made = linear()
    broken = W.T.copy()
    broken[3, 4] = np.nan
    made.graph.initializer[0].CopyFrom(numpy_helper.from_array(broken, "w"))
    attack.inline(made)

    assert attack.convert() is not None


class TestAModelFileThatIsTooLarge:
    def test_is_refused_before_it_is_read(self, attack: Attack) -> None:
        """Sparse: it has no bytes on the disk, and would take as many as it says in memory."""
        attack.inline(linear())
        os.truncate(attack.base, 2**31)

        error = attack.refuse(exit_code=1)

        assert "2147483648 bytes, and protobuf holds 2 GB at most" in error

    def test_of_a_terabyte_too(self, attack: Attack) -> None:
        attack.inline(linear())
        os.truncate(attack.base, 2**40)

        assert "protobuf holds 2 GB at most" in attack.refuse(exit_code=1)

    @pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"\xff" * 1000, b"PK\3\4", b"{}"])
    def test_and_what_is_no_model_is_refused(self, content: bytes, attack: Attack) -> None:
        attack.base.write_bytes(content)

        assert "not an ONNX model" in attack.refuse(exit_code=1)


CODES = np.arange(32 * 48, dtype=np.int64).reshape(32, 48).astype(np.int8)


def dequantized(scale: Array, zero: Array, **attributes: int) -> Any:
    text = """
        g (float[N, 32] x) => (float[N, 48] y) {
            w = DequantizeLinear (codes, scale, zero)
            [node_MatMul] y = MatMul (x, w)
        }
    """
    arrays = {"codes": CODES, "scale": scale, "zero": zero}
    made = model(text, arrays, {"node_MatMul": "q"})
    for name, value in attributes.items():
        made.graph.node[0].attribute.append(helper.make_attribute(name, value))
    return made


SCALES = [(), (0,), (1,), (32,), (47,), (48,), (2, 48), (48, 32), (1,) * 9]
ATTRIBUTES: list[dict[str, int]] = [
    {},
    {"axis": 0},
    {"axis": 9},
    {"axis": INT64_MIN},
    {"block_size": 16, "axis": 0},
]


@pytest.mark.parametrize("scales", SCALES, ids=str)
@pytest.mark.parametrize("attributes", ATTRIBUTES, ids=str)
def test_scales_that_do_not_fit_their_codes(
    scales: tuple[int, ...], attributes: dict[str, int], attack: Attack
) -> None:
    scale, zero = np.full(scales, 0.1, np.float32), np.zeros(scales, np.int8)
    attack.inline(dequantized(scale, zero, **attributes))

    attack.bear()


@pytest.mark.parametrize("zeros", [(0,), (7,), (48,), (2, 48)], ids=str)
@pytest.mark.parametrize("scales", [(), (1,)], ids=str)
def test_zero_points_that_do_not_fit_their_codes(
    scales: tuple[int, ...], zeros: tuple[int, ...], attack: Attack
) -> None:
    attack.inline(dequantized(np.full(scales, 0.1, np.float32), np.zeros(zeros, np.int8)))

    attack.bear()


@pytest.mark.parametrize(
    ("scales", "block"), [((48,), -1), ((32,), INT64_MAX)], ids=["negative", "huge"]
)
def test_block_sizes_that_do_not_fit_their_codes(
    scales: tuple[int, ...], block: int, attack: Attack
) -> None:
    scale, zero = np.full(scales, 0.1, np.float32), np.zeros(scales, np.int8)
    attack.inline(dequantized(scale, zero, block_size=block))

    attack.bear()


ODD = [0, -1, 1, 7, 9, 31, 2**31, INT64_MAX, INT64_MIN]


@pytest.mark.parametrize("name", ["K", "N", "bits", "block_size", "weight_prepacked"])
@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("more", [[], ["zero"], ["", "groups"], ["zero", "groups"], ["short"]])
def test_packed_weights_that_do_not_fit(
    name: str, value: int, more: list[str], attack: Attack
) -> None:
    text = "g (float[N, 32] x) => (float[N, 48] y) { y = Identity (x) }"
    arrays: dict[str, Array] = {
        "codes": np.zeros((48, 1, 16), np.uint8),
        "scale": np.full((48,), 0.1, np.float32),
        "zero": np.full((48,), 8, np.uint8),
        "short": np.full((5,), 8, np.uint8),
        "groups": np.full((32,), INT64_MAX, np.int64).astype(np.int32),
    }
    made = model(text, arrays)
    attributes = {"K": 32, "N": 48, "bits": 4, "block_size": 32} | {name: value}
    node = helper.make_node(
        "MatMulNBits",
        ["x", "codes", "scale", *more],
        ["z"],
        name="/q/MatMul",
        domain="com.microsoft",
        **attributes,
    )
    made.graph.node.append(node)
    attack.inline(made)

    attack.bear()


@pytest.mark.parametrize("op_type", ["MatMulIntegerToFloat", "DynamicQuantizeMatMul"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (47,), (48,), (48, 32)])
def test_integer_products_that_do_not_fit(
    op_type: str, shape: tuple[int, ...], attack: Attack
) -> None:
    text = "g (float[N, 32] x) => (float[N, 48] y) { y = Identity (x) }"
    made = model(text, {"codes": CODES, "scale": np.ones(shape, np.float32)})
    given = ["x", "codes", "scale", "scale", "scale", "scale", "scale"]
    made.graph.node.append(
        helper.make_node(op_type, given, ["z"], name="/q/MatMul", domain="com.microsoft")
    )
    attack.inline(made)

    attack.bear()
