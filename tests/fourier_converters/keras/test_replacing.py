"""Where replacements go: by the variable's name, and turned round where torch trained them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fourier_converters.mapping import MapEntry
from fourier_format.errors import TargetNotFoundError
from tests.fourier_converters.graphs import weight
from tests.fourier_converters.keras.setting import (
    BIAS,
    GROUPS,
    HEAD,
    UP,
    dense,
    merge,
    write_archive,
    write_weights,
)

KERNEL = "layers/dense/vars/0"
OWN_BIAS = "layers/dense/vars/1"
NEW = weight(6, 3, seed=60)
NEW_BIAS = weight(1, 3, seed=61)[0]
SQUARE = weight(6, 6, seed=62)


def test_a_head_trained_in_keras_is_put_in_as_it_is(tmp_path: Path) -> None:
    whole = dense({"block/up": UP}, replacements={"logits/kernel": NEW, "logits/bias": NEW_BIAS})

    merged, report = merge(whole, write_weights(tmp_path / "m.weights.h5"))

    assert np.array_equal(merged[KERNEL], NEW)
    assert np.array_equal(merged[OWN_BIAS], NEW_BIAS)
    assert [row.evidence for row in report.rows[1:]] == ["replaced, by name"] * 2


def test_a_head_trained_in_torch_is_turned_round(tmp_path: Path) -> None:
    new = {"logits.weight": np.ascontiguousarray(NEW.T), "logits.bias": NEW_BIAS}

    merged, _ = merge(
        dense({"a.up": UP}, replacements=new), write_weights(tmp_path / "m.weights.h5")
    )

    assert np.array_equal(merged[KERNEL], NEW)
    assert np.array_equal(merged[OWN_BIAS], NEW_BIAS)


def test_a_square_one_trained_in_torch_needs_the_layers_class(tmp_path: Path) -> None:
    groups = dict(GROUPS) | {"layers/dense": ("logits", [SQUARE, SQUARE[0]])}
    whole = dense({"a.up": UP}, replacements={"logits.weight": SQUARE})

    with pytest.raises(TargetNotFoundError, match="as it is, or transposed"):
        merge(whole, write_weights(tmp_path / "m.weights.h5", groups))
    merged, _ = merge(whole, write_archive(tmp_path / "m.keras", groups))

    assert np.array_equal(merged[KERNEL], SQUARE.T)


def test_a_bias_lies_where_its_targets_weight_was_found(tmp_path: Path) -> None:
    kernel = weight(12, 6, seed=9).reshape(6, 3, 4)
    groups = {"layers/e": ("query", [kernel, weight(3, 4, seed=63)])}
    flat = kernel.reshape(6, 12)
    new = weight(1, 12, seed=64)[0]
    whole = dense({"a.q_proj": flat}, replacements={"a.q_proj.bias": new})

    merged, report = merge(whole, write_weights(tmp_path / "m.weights.h5", groups))

    assert np.array_equal(merged["layers/e/vars/1"], new.reshape(3, 4))
    assert report.rows[1].evidence == "replaced, by its target's layer"


def test_a_delta_goes_on_top_of_a_replacement(tmp_path: Path) -> None:
    whole = dense({"logits": HEAD}, replacements={"logits/kernel": NEW})

    merged, _ = merge(whole, write_weights(tmp_path / "m.weights.h5"))
    plain, _ = merge(dense({"logits": HEAD}), write_weights(tmp_path / "n.weights.h5"))

    assert np.allclose(merged[KERNEL] - NEW, plain[KERNEL] - HEAD, atol=1e-5)


@pytest.mark.parametrize(
    ("names", "index"),
    [
        (["gamma", "beta"], 1),
        (["gamma", "beta", "moving_mean", "moving_variance"], 2),
        (["gamma"], 0),
        (["kernel", "recurrent_kernel", "bias"], 2),
    ],
)
def test_variables_of_a_layer_are_known_by_their_order(
    names: list[str], index: int, tmp_path: Path
) -> None:
    variables = [weight(1, 4, seed=70 + i)[0] for i in range(len(names))]
    groups = dict(GROUPS) | {"layers/layer": ("norm", variables)}
    new = weight(1, 4, seed=80)[0]
    whole = dense({"block/up": UP}, replacements={f"norm/{names[index]}": new})

    merged, _ = merge(whole, write_weights(tmp_path / "m.weights.h5", groups))

    for number, before in enumerate(variables):
        expected = new if number == index else before
        assert np.array_equal(merged[f"layers/layer/vars/{number}"], expected)


def test_a_head_of_another_size_is_an_error(tmp_path: Path) -> None:
    whole = dense({"block/up": UP}, replacements={"logits/kernel": weight(6, 5, seed=65)})

    with pytest.raises(TargetNotFoundError, match=r"6 x 5 in the adapter, expected 6 x 3"):
        merge(whole, write_weights(tmp_path / "m.weights.h5"))


@pytest.mark.parametrize("name", ["classifier/kernel", "logits/gamma", "classifier.weight"])
def test_one_that_the_base_lacks_is_an_error(name: str, tmp_path: Path) -> None:
    whole = dense({"block/up": UP}, replacements={name: NEW})

    with pytest.raises(TargetNotFoundError, match="E-REPLACEMENT-NOT-FOUND"):
        merge(whole, write_weights(tmp_path / "m.weights.h5"))


def test_the_map_says_where_one_goes(tmp_path: Path) -> None:
    whole = dense({"block/up": UP}, replacements={"classifier/kernel": NEW})
    entry = MapEntry(weight=KERNEL)

    merged, _ = merge(
        whole,
        write_weights(tmp_path / "m.weights.h5"),
        replacements={"classifier/kernel": entry},
    )

    assert np.array_equal(merged[KERNEL], NEW)


def test_two_of_one_variable_are_an_error(tmp_path: Path) -> None:
    new = {"logits/kernel": NEW, "classifier/kernel": NEW}
    whole = dense({"block/up": UP}, replacements=new)

    with pytest.raises(TargetNotFoundError, match="E-USE-CLAIMED"):
        merge(
            whole,
            write_weights(tmp_path / "m.weights.h5"),
            replacements={"classifier/kernel": MapEntry(weight=KERNEL)},
        )


def test_a_quantised_layers_variables_have_no_names(tmp_path: Path) -> None:
    groups = dict(GROUPS) | {"layers/dense": ("logits", [HEAD.astype(np.int8), BIAS, BIAS])}
    whole = dense({"block/up": UP}, replacements={"logits/bias": NEW_BIAS})

    with pytest.raises(TargetNotFoundError, match="is quantised"):
        merge(whole, write_weights(tmp_path / "m.weights.h5", groups))
