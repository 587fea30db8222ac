"""Which variable a target means: by map, by name, by fingerprint, and never in doubt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fourier_converters.mapping import MapEntry
from fourier_format import Adapter
from fourier_format.adapter import Array
from fourier_format.errors import BaseMismatchError, TargetNotFoundError, UnsupportedError
from tests.fourier_converters.adapters import adapter, delta
from tests.fourier_converters.graphs import weight
from tests.fourier_converters.keras.setting import (
    CONFIG,
    DOWN,
    GROUPS,
    HEAD,
    TABLE,
    UP,
    dense,
    einsum,
    merge,
    write_archive,
    write_weights,
)
from tests.tolerances import KERAS_KERNEL_F32

KERNEL = weight(12, 6, seed=9).reshape(6, 3, 4)  # 6 inputs to 3 heads of 4
SQUARE = weight(6, 6, seed=10)
UP_PATH = "layers/block/up_dense/vars/0"


def same(got: Array, expected: Array) -> bool:
    return bool(np.abs(got - expected).max() <= KERAS_KERNEL_F32 * np.abs(expected).max())


def evidence(whole: Adapter, base: Path, **settings: object) -> str:
    """Merge, and return the first target's evidence and place."""
    _, report = merge(whole, base, **settings)  # type: ignore[arg-type]
    return f"{report.rows[0].evidence}: {report.rows[0].found}"


class TestByName:
    def test_the_names_of_all_layers_around_it_are_a_layers_name(self, tmp_path: Path) -> None:
        whole = dense({"block/up": UP, "block/down": DOWN})

        merged, report = merge(whole, write_weights(tmp_path / "m.weights.h5"))

        assert [row.found for row in report.rows] == [
            "layers/block/up_dense/vars/0 (block/up)",
            "layers/block/down_dense/vars/0 (block/down)",
        ]
        assert same(merged[UP_PATH], UP + delta(whole, "block/up").T)
        assert np.array_equal(merged["layers/dense/vars/0"], HEAD)

    def test_a_model_around_the_one_that_was_trained_adds_a_prefix(self, tmp_path: Path) -> None:
        whole = dense({"up": UP, "down": DOWN})

        _, report = merge(whole, write_weights(tmp_path / "m.weights.h5"))

        assert {row.evidence for row in report.rows} == {"name + fingerprint"}
        assert report.notes == ("the base's names have the prefix 'block.'",)

    def test_equal_weights_are_told_apart_by_their_names(self, tmp_path: Path) -> None:
        groups = dict(GROUPS) | {"layers/dense_1": ("twin", [HEAD])}
        whole = dense({"twin": HEAD})

        merged, _ = merge(whole, write_weights(tmp_path / "m.weights.h5", groups))

        assert np.array_equal(merged["layers/dense/vars/0"], HEAD)
        assert same(merged["layers/dense_1/vars/0"], HEAD + delta(whole, "twin").T)

    def test_layers_of_one_name_are_told_apart_by_the_fingerprint(self, tmp_path: Path) -> None:
        groups = {"layers/dense": ("d", [UP]), "layers/dense_1": ("d", [weight(6, 8, seed=20)])}
        base = write_weights(tmp_path / "m.weights.h5", groups)

        found = evidence(dense({"d": UP}), base)

        assert found == "name + fingerprint: layers/dense/vars/0 (d)"

    def test_layers_of_one_name_and_no_fingerprint_are_an_error(self, tmp_path: Path) -> None:
        groups = {"layers/dense": ("d", [UP]), "layers/dense_1": ("d", [weight(6, 8, seed=20)])}
        base = write_weights(tmp_path / "m.weights.h5", groups)

        with pytest.raises(TargetNotFoundError, match=r"layers/dense/vars/0, layers/dense_1/vars"):
            merge(dense({"d": UP}, prints=False), base)

    def test_another_checkpoint_of_the_model_is_an_error(self, tmp_path: Path) -> None:
        whole = dense({"block/up": UP * np.float32(1.01)})

        with pytest.raises(BaseMismatchError, match="E-BASE-MISMATCH"):
            merge(whole, write_weights(tmp_path / "m.weights.h5"))

    def test_a_name_and_a_fingerprint_that_disagree_are_an_error(self, tmp_path: Path) -> None:
        groups = dict(GROUPS) | {"layers/other": ("other", [weight(6, 8, seed=21)])}
        whole = dense({"other": UP, "logits": HEAD})

        with pytest.raises(TargetNotFoundError, match="E-EVIDENCE-DISAGREES"):
            merge(whole, write_weights(tmp_path / "m.weights.h5", groups))

    def test_a_weight_of_another_shape_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(TargetNotFoundError, match=r"got 6 x 3, expected \(out, in\) 8 x 6"):
            merge(dense({"logits": UP}), write_weights(tmp_path / "m.weights.h5"))

    def test_a_bias_of_two_axes_is_no_kernel(self, tmp_path: Path) -> None:
        """Named alone, the first variable is meant, whatever the second could be read as."""
        kernel, bias = weight(24, 12, seed=22).reshape(12, 4, 6), weight(4, 6, seed=23)
        groups = {"layers/einsum_dense": ("e", [kernel, bias])}
        whole = einsum("e", bias, (1,), prints=False)

        with pytest.raises(TargetNotFoundError, match="E-TARGET-NOT-FOUND"):
            merge(whole, write_weights(tmp_path / "m.weights.h5", groups))


class TestByFingerprint:
    def test_names_of_another_framework_are_no_evidence(self, tmp_path: Path) -> None:
        whole = dense({"net.up": UP, "net.logits": DOWN})

        _, report = merge(whole, write_weights(tmp_path / "m.weights.h5"))

        assert {row.evidence for row in report.rows} == {"fingerprint"}
        assert report.notes == ()

    def test_a_torch_linear_is_an_einsum_kernel(self, tmp_path: Path) -> None:
        base = write_weights(tmp_path / "m.weights.h5", {"layers/e": ("query", [KERNEL])})
        whole = adapter({"a.q_proj": np.ascontiguousarray(KERNEL.reshape(6, 12).T)})

        merged, _ = merge(whole, base)

        expected = KERNEL + delta(whole, "a.q_proj").T.reshape(6, 3, 4)
        assert same(merged["layers/e/vars/0"], expected)

    def test_two_equal_weights_are_an_error_that_lists_them(self, tmp_path: Path) -> None:
        groups = dict(GROUPS) | {"layers/dense_1": ("twin", [HEAD])}

        with pytest.raises(TargetNotFoundError, match=r"layers/dense/vars/0 .*layers/dense_1/v"):
            merge(dense({"a.head": HEAD}), write_weights(tmp_path / "m.weights.h5", groups))

    def test_a_weight_that_is_not_there_is_an_error_that_lists_others(self, tmp_path: Path) -> None:
        with pytest.raises(TargetNotFoundError, match=rf"2 weights of .*{UP_PATH}"):
            merge(dense({"a.b": weight(6, 8, seed=30)}), write_weights(tmp_path / "m.weights.h5"))

    def test_a_head_that_is_stored_as_an_embedding_is_an_error(self, tmp_path: Path) -> None:
        whole = adapter({"lm.head": TABLE})  # (vocab, dim) is (out, in) of a head

        with pytest.raises(TargetNotFoundError, match="may be an embedding that it is tied to"):
            merge(whole, write_archive(tmp_path / "m.keras"))

    def test_the_map_can_mean_both(self, tmp_path: Path) -> None:
        whole = adapter({"lm.head": TABLE})
        entry = MapEntry(weight="layers/embedding/vars/0")

        merged, _ = merge(whole, write_archive(tmp_path / "m.keras"), {"lm.head": entry})

        assert same(merged["layers/embedding/vars/0"], TABLE + delta(whole, "lm.head"))

    def test_two_targets_of_one_weight_are_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(TargetNotFoundError, match="E-USE-CLAIMED"):
            merge(dense({"a.b": UP, "a.c": UP}), write_weights(tmp_path / "m.weights.h5"))

    def test_the_optimizers_state_is_not_the_model(self, tmp_path: Path) -> None:
        groups = dict(GROUPS) | {"optimizer": ("adam", [HEAD])}

        merged, report = merge(
            dense({"a.head": HEAD}), write_weights(tmp_path / "m.weights.h5", groups)
        )

        assert report.rows[0].found.startswith("layers/dense/vars/0")
        assert "optimizer/vars/0" not in merged


class TestWithoutFingerprint:
    def test_a_dense_kernel_is_input_by_output(self, tmp_path: Path) -> None:
        groups = {"layers/dense": ("d", [SQUARE, SQUARE[0]])}
        whole = dense({"d": SQUARE}, prints=False)

        merged, report = merge(whole, write_weights(tmp_path / "m.weights.h5", groups))

        assert report.rows[0].evidence == "name"
        assert same(merged["layers/dense/vars/0"], SQUARE + delta(whole, "d").T)

    def test_the_configs_equation_says_what_is_contracted(self, tmp_path: Path) -> None:
        config = _einsum_config("abc,dc->abd")
        base = write_archive(tmp_path / "m.keras", {"layers/einsum_dense": ("e", [SQUARE])}, config)
        whole = einsum("e", SQUARE, (1,), prints=False)

        merged, _ = merge(whole, base)

        assert same(merged["layers/einsum_dense/vars/0"], SQUARE + delta(whole, "e"))

    @pytest.mark.parametrize(("layout", "contracted"), [("in_out", (0,)), ("out_in", (1,))])
    def test_without_an_equation_the_user_must_say_it(
        self, tmp_path: Path, layout: str, contracted: tuple[int, ...]
    ) -> None:
        base = write_weights(tmp_path / "m.weights.h5", {"layers/e": ("e", [SQUARE])})
        whole = einsum("e", SQUARE, contracted, prints=False)

        with pytest.raises(UnsupportedError, match="E-ORIENTATION-UNKNOWN"):
            merge(whole, base)
        merged, _ = merge(whole, base, {"e": MapEntry(layout=layout)})

        placed = delta(whole, "e")
        expected = SQUARE + (placed.T if layout == "in_out" else placed)
        assert same(merged["layers/e/vars/0"], expected)

    def test_a_shape_that_fits_in_one_way_alone_is_enough(self, tmp_path: Path) -> None:
        base = write_weights(tmp_path / "m.weights.h5", {"layers/e": ("e", [KERNEL])})
        whole = einsum("e", KERNEL, (0,), prints=False)

        merged, _ = merge(whole, base)

        assert same(merged["layers/e/vars/0"], KERNEL + delta(whole, "e").T.reshape(6, 3, 4))

    def test_names_come_from_the_config_where_the_weights_have_none(self, tmp_path: Path) -> None:
        nameless = {group: (None, variables) for group, (_, variables) in GROUPS.items()}
        base = write_archive(tmp_path / "m.keras", nameless)

        found = evidence(dense({"logits": HEAD}, prints=False), base)

        assert found == "name: layers/dense/vars/0 (logits)"

    def test_no_name_and_no_fingerprint_is_an_error_that_says_what_to_do(
        self, tmp_path: Path
    ) -> None:
        nameless = {group: (None, variables) for group, (_, variables) in GROUPS.items()}
        base = write_weights(tmp_path / "m.weights.h5", nameless)

        with pytest.raises(TargetNotFoundError, match=r"no names of layers.*\.keras file.*--map"):
            merge(dense({"logits": HEAD}, prints=False), base)

    def test_two_layers_of_one_name_have_no_class(self, tmp_path: Path) -> None:
        """Nothing is concluded from a config in which a name means two layers."""
        config = _einsum_config("abc,dc->abd")
        config["config"]["layers"].append(
            {"module": "keras.layers", "class_name": "Dense", "config": {"name": "e"}}
        )
        base = write_archive(tmp_path / "m.keras", {"layers/einsum_dense": ("e", [SQUARE])}, config)

        with pytest.raises(UnsupportedError, match="E-ORIENTATION-UNKNOWN"):
            merge(einsum("e", SQUARE, (1,), prints=False), base)


class TestKinds:
    def test_an_embedding_is_vocabulary_by_width(self, tmp_path: Path) -> None:
        whole = adapter({"tokens": np.ascontiguousarray(TABLE.T)}, kind="embedding")

        merged, _ = merge(whole, write_archive(tmp_path / "m.keras"))

        assert same(merged["layers/embedding/vars/0"], TABLE + delta(whole, "tokens").T)

    def test_an_embedding_is_no_dense_layers_kernel(self, tmp_path: Path) -> None:
        whole = adapter({"a.b": np.ascontiguousarray(HEAD.T)}, kind="embedding")

        with pytest.raises(TargetNotFoundError, match="0 weights"):
            merge(whole, write_archive(tmp_path / "m.keras"))

    def test_a_convolution_is_height_width_input_output(self, tmp_path: Path) -> None:
        kernel = weight(12, 5, seed=40).reshape(2, 3, 2, 5)  # 2 of 4 channels, in two groups
        base = write_weights(tmp_path / "m.weights.h5", {"layers/conv2d": ("c", [kernel])})
        matrix = kernel.transpose(3, 2, 0, 1).reshape(5, 12)
        whole = adapter({"c": np.ascontiguousarray(matrix)}, kind="conv2d")

        merged, _ = merge(whole, base)

        placed = delta(whole, "c").reshape(5, 2, 2, 3).transpose(2, 3, 1, 0)
        assert same(merged["layers/conv2d/vars/0"], kernel + placed)

    def test_a_quantised_kernel_is_an_error(self, tmp_path: Path) -> None:
        groups = {"layers/dense": ("logits", [HEAD.astype(np.int8), BIAS_LIKE, BIAS_LIKE])}

        with pytest.raises(UnsupportedError, match=r"holds .* as I8"):
            merge(dense({"logits": HEAD}), write_weights(tmp_path / "m.weights.h5", groups))


BIAS_LIKE = weight(1, 3, seed=50)[0]


def _einsum_config(equation: str) -> dict[str, Any]:
    layer = {
        "module": "keras.layers",
        "class_name": "EinsumDense",
        "config": {"name": "e", "equation": equation},
    }
    return CONFIG | {"config": {"name": "model", "layers": [layer]}}
