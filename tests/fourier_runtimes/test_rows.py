from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fourier_format.errors import UsageError
from fourier_runtimes.rows import parsed


def test_nothing_is_the_base_for_all_rows() -> None:
    assert parsed(None).plain
    assert parsed(None).listed is None


def test_a_name_is_for_all_rows() -> None:
    rows = parsed("legal")

    assert rows.single == "legal"
    assert rows.blends == ((("legal", 1.0),),)
    assert rows.index == (0,)


def test_rows_that_ask_for_the_same_share_a_blend() -> None:
    rows = parsed(["a", None, {"b": 0.5, "a": 2}, "a", {"a": 2.0, "b": 0.5}])

    assert rows.blends == ((("a", 1.0),), (), (("a", 2.0), ("b", 0.5)))
    assert rows.index == (0, 1, 2, 0, 2)
    assert rows.listed == 5
    assert rows.names == ["a", "b"]


def test_a_list_of_one_thing_is_that_thing_for_all_rows() -> None:
    rows = parsed(["a", "a", {"a": 1.0}])

    assert rows.single == "a"
    assert rows.index == (0,)
    assert rows.listed == 3


def test_a_weight_of_zero_asks_for_nothing() -> None:
    assert parsed([{"a": 0.0}, None, {}]).plain
    assert parsed([{"a": 0.0, "b": 1}]).names == ["b"]


def test_an_empty_list_is_for_an_empty_batch() -> None:
    rows = parsed([])

    assert rows.plain
    assert rows.listed == 0
    assert rows.indices.shape == (0,)


@pytest.mark.parametrize(
    "asked",
    [3, [3], [["a"]], {"a": "much"}, {"a": float("nan")}, [{"a": float("inf")}], {1: 2.0}, {"a"}],
)
def test_anything_else_is_a_usage_error(asked: Any) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(asked)

    assert caught.value.code == "E-USAGE"


def test_a_weight_of_numpy_is_a_number() -> None:
    float32: Any = np.float32(0.5)

    assert parsed({"a": float32}).blends == ((("a", 0.5),),)
