from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from fourier_format.errors import UsageError
from fourier_runtimes.feeding import Declared, batch_size, fitting
from fourier_runtimes.rows import parsed

TEXT: Declared = {"ids": ["batch", "tokens"], "mask": ["batch", "tokens"], "scale": []}


def ids(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.int64)


def test_the_batch_is_the_first_axis() -> None:
    assert batch_size(TEXT, {"ids": ids(3, 5), "mask": ids(3, 5), "scale": ids()}) == 3
    assert batch_size({"x": [4, "n"]}, {"x": ids(4, 2)}) == 4
    assert batch_size({"x": []}, {"x": ids()}) is None


def test_an_open_first_axis_is_asked_before_a_fixed_one() -> None:
    declared: Declared = {"table": [7, 2], "ids": ["rows", "tokens"]}

    assert batch_size(declared, {"table": ids(7, 2), "ids": ids(3, 5)}) == 3


def test_an_axis_that_is_called_the_batch_is_the_batch_wherever_it_lies() -> None:
    declared: Declared = {"x": ["tokens", "batch", 8], "lengths": ["tokens"]}

    assert batch_size(declared, {"x": ids(5, 3, 8), "lengths": ids(5)}) == 3


def test_inputs_of_one_axis_are_asked_last() -> None:
    declared: Declared = {"positions": ["positions"], "x": ["rows", "width"]}

    assert batch_size(declared, {"positions": ids(5), "x": ids(3, 8)}) == 3
    assert batch_size({"positions": ["positions"]}, {"positions": ids(5)}) == 5


def test_axes_without_names_are_counted() -> None:
    declared: Declared = {"x": ["unk__1", 8], "y": [None, 8], "z": ["", 8], "w": [None, 8]}
    inputs = {"w": ids(5, 8), "x": ids(3, 8), "y": ids(3, 8), "z": ids(3, 8)}

    assert batch_size(declared, inputs) == 3


def test_ort_values_have_a_batch_too() -> None:
    value = onnxruntime.OrtValue.ortvalue_from_numpy(ids(3, 5))

    assert batch_size(TEXT, {"ids": value}) == 3


@pytest.mark.parametrize("shape", [(2, 5), (3, 4)])
def test_inputs_that_disagree_on_a_symbolic_size_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="mask") as caught:
        batch_size(TEXT, {"ids": ids(3, 5), "mask": ids(*shape)})

    assert caught.value.code == "E-ADAPTER-ROWS"


def test_a_list_must_have_an_entry_for_each_row() -> None:
    inputs = {"ids": ids(3, 5)}

    assert fitting(TEXT, inputs, parsed(["a", None, "b"])) == inputs
    for asked in (["a", "b"], ["a"], ["a"] * 4):
        with pytest.raises(UsageError, match=f"{len(asked)} in the list") as caught:
            fitting(TEXT, inputs, parsed(asked))
        assert caught.value.code == "E-ADAPTER-ROWS"


def test_one_adapter_for_all_rows_needs_no_batch() -> None:
    assert fitting({"x": []}, {"x": 1.0}, parsed("a")) == {"x": 1.0}
