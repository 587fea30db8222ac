"""Which weight a target means: fingerprint and names must agree, or nothing is merged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fourier_format.adapter import Array
from fourier_format.fingerprint import positions
from tests.fourier_converters.adapters import adapter, delta, save, without_prints
from tests.fourier_converters.command import Captured, converted, refused
from tests.fourier_converters.graphs import initializers, matrix, model, weight
from tests.fourier_converters.graphs import save as save_model
from tests.fourier_converters.onnx.setting import NAMES, K, Q, Setting

Change = Callable[[Array], Array]


def one_value_not_sampled(w: Array) -> Array:
    changed = w.copy()
    sampled = set(positions((8, 8)).tolist())
    changed.flat[next(i for i in range(64) if i not in sampled)] *= 1.0001
    return changed


def every_value_a_little(w: Array) -> Array:
    return (w.astype(np.float64) * (1 + 1e-6)).astype(np.float32)


def two_values_swapped(w: Array) -> Array:
    changed = w.copy()
    sampled = set(positions((8, 8)).tolist())
    one, two = [i for i in range(64) if i not in sampled][:2]
    changed.flat[[one, two]] = changed.flat[[two, one]]
    return changed


def one_sign_flipped(w: Array) -> Array:
    changed = w.copy()
    sampled = set(positions((8, 8)).tolist())
    changed.flat[next(i for i in range(64) if i not in sampled)] *= -1
    return changed


class TestFingerprint:
    def test_it_and_the_names_agree(self, setting: Setting) -> None:
        setting.base()
        whole = adapter({"enc.q": Q, "enc.k": K})

        rows = setting.merge(whole)["rows"]

        assert [r["found"] for r in rows] == ["val_1", "val_2"]
        assert {r["evidence"] for r in rows} == {"fingerprint + name scopes"}
        assert np.allclose(setting.merged("val_1"), Q + delta(whole, "enc.q"), atol=1e-6)
        assert np.allclose(setting.merged("val_2"), K + delta(whole, "enc.k"), atol=1e-6)

    def test_another_model_of_the_same_shape_is_refused(self, setting: Setting) -> None:
        setting.base(q=weight(8, 8, seed=7))

        (line,) = setting.refuse(adapter({"enc.q": Q}))

        assert "does not have the fingerprint of the one that was trained on" in line
        assert line.endswith("[E-BASE-MISMATCH]")

    def test_every_wrong_weight_is_listed(self, setting: Setting) -> None:
        setting.base(q=Q + 1, k=K + 1)

        lines = setting.refuse(adapter({"enc.q": Q, "enc.k": K}))

        assert [line.split(":")[0] for line in lines] == ["enc.q", "enc.k"]

    @pytest.mark.parametrize("change", [every_value_a_little, one_value_not_sampled])
    @pytest.mark.parametrize("names", [NAMES, None])
    def test_a_near_fine_tune_of_the_right_base_is_refused(
        self, change: Change, names: dict[str, str] | None, setting: Setting
    ) -> None:
        changed = change(Q)
        assert not np.array_equal(changed, Q)
        setting.base(q=changed, names=names)

        lines = setting.refuse(adapter({"enc.q": Q}))

        expected = {"[E-BASE-MISMATCH]"} if names else {"[E-BASE-MISMATCH]", "[E-TARGET-NOT-FOUND]"}
        assert {line.split()[-1] for line in lines} <= expected

    def test_a_value_that_was_not_sampled_shows_in_the_norm(self, setting: Setting) -> None:
        setting.base(q=one_value_not_sampled(Q))

        (line,) = setting.refuse(adapter({"enc.q": Q}))

        assert "val_1 has another norm than the weight that was trained on" in line

    @pytest.mark.parametrize("change", [two_values_swapped, one_sign_flipped])
    def test_what_the_norm_cannot_see_is_seen_by_the_full_check(
        self, change: Change, setting: Setting
    ) -> None:
        setting.base(q=change(Q))
        whole = adapter({"enc.q": Q})
        setting.merge(whole)  # the quick check lets it pass
        setting.output.unlink()

        (line,) = setting.refuse(whole, "--verify", "full")

        assert "val_1 has another SHA-256 than the weight that was trained on" in line

    def test_the_full_check_passes_the_right_base_without_a_note(self, setting: Setting) -> None:
        setting.base()

        assert setting.merge(adapter({"enc.q": Q}), "--verify", "full")["notes"] == []

    def test_the_full_check_says_where_it_could_not_check(self, setting: Setting) -> None:
        setting.base(q=Q.astype(np.float16), k=K.astype(np.float16))
        plain = without_prints({"enc.q": Q})

        half = setting.merge(adapter({"enc.q": Q}), "--verify", "full")["notes"]
        absent = setting.merge(plain, "--verify", "full")["notes"]

        text = "SHA-256 not comparable, the base holds F16 and the fingerprint is of F32"
        assert half == [f"enc.q: {text}"]
        assert absent == ["enc.q: the adapter has no fingerprint to verify"]

    def test_a_base_of_half_precision_is_recognised(self, setting: Setting) -> None:
        setting.base(q=Q.astype(np.float16), k=K.astype(np.float16), names=None)

        (row,) = setting.merge(adapter({"enc.q": Q}))["rows"]

        assert row["evidence"] == "fingerprint"

    def test_it_finds_a_renamed_weight_alone(self, setting: Setting) -> None:
        setting.base(names=None)
        whole = adapter({"enc.k": K})

        (row,) = setting.merge(whole)["rows"]

        assert (row["found"], row["evidence"]) == ("val_2", "fingerprint")

    def test_equal_weights_without_names_are_not_chosen_between(self, setting: Setting) -> None:
        setting.base(k=Q, names=None)

        (line,) = setting.refuse(adapter({"enc.q": Q}))

        assert "several uses have its weight, and no name says which are meant" in line
        assert "val_1 (no module path), val_2 (no module path)" in line
        assert line.endswith("[E-TARGET-AMBIGUOUS]")

    def test_equal_weights_with_names_are_told_apart(self, setting: Setting) -> None:
        setting.base(k=Q)
        whole = adapter({"enc.k": Q})

        setting.merge(whole)

        assert np.array_equal(setting.merged("val_1"), Q)
        assert np.allclose(setting.merged("val_2"), Q + delta(whole, "enc.k"), atol=1e-6)

    def test_names_that_point_elsewhere_are_refused(self, setting: Setting) -> None:
        setting.base(names={"q": "enc.k", "k": "enc.q"})

        (line,) = setting.refuse(adapter({"enc.q": Q}))

        assert "the name scopes and the fingerprint point to different weights" in line
        assert "name scopes: val_2 (enc.q); fingerprint: val_1 (enc.k)" in line
        assert line.endswith("[E-EVIDENCE-DISAGREES]")


class TestNamesAlone:
    def test_they_suffice_where_the_adapter_has_no_fingerprint(self, setting: Setting) -> None:
        setting.base()

        (row,) = setting.merge(without_prints({"enc.k": K}))["rows"]

        assert (row["found"], row["evidence"]) == ("val_2", "name scopes")

    def test_without_them_nothing_is_found(self, setting: Setting) -> None:
        setting.base(names=None)

        (line,) = setting.refuse(without_prints({"enc.q": Q}))

        assert "no weight of the graph is this target's, by fingerprint or by name" in line
        assert "got 2 weights of shape (out, in) 8x8: val_1" in line
        assert line.endswith("[E-TARGET-NOT-FOUND]")

    @pytest.mark.parametrize("make", [adapter, without_prints])
    def test_a_weight_of_the_name_with_another_shape_is_shown(
        self, make: Any, setting: Setting
    ) -> None:
        setting.base()

        (line,) = setting.refuse(make({"enc.q": weight(8, 16)}))

        assert "the graph's weight of this name has another shape" in line
        assert "got (out, in) 8x8, expected 8x16" in line

    def test_two_different_weights_of_one_name_are_not_chosen_between(
        self, setting: Setting
    ) -> None:
        setting.base(names={"q": "one.enc.q", "k": "two.enc.q"})

        (line,) = setting.refuse(without_prints({"enc.q": Q}))

        assert "several weights could be meant by this name" in line
        assert "val_1 (one.enc.q), val_2 (two.enc.q)" in line
        assert line.endswith("[E-TARGET-AMBIGUOUS]")

    def test_one_prefix_is_the_same_for_all_targets(self, setting: Setting) -> None:
        """Each name by itself would take the one use for both targets."""
        setting.base(names={"q": "enc.q"})

        (line,) = setting.refuse(without_prints({"enc.q": Q, "model.enc.q": Q}))

        assert line.startswith("model.enc.q: no weight of the graph is this target's")

    @pytest.mark.parametrize("prefix", ["model.", "bert.encoder."])
    def test_a_wrappers_prefix_is_found_and_said(self, prefix: str, setting: Setting) -> None:
        setting.base(names={"q": f"{prefix}enc.q", "k": f"{prefix}enc.k"})

        report = setting.merge(without_prints({"enc.q": Q, "enc.k": K}))

        assert [row["found"] for row in report["rows"]] == ["val_1", "val_2"]
        assert report["notes"] == [f"the base's names have the prefix {prefix!r}"]

    def test_a_prefix_that_the_base_lacks_is_found_and_said(self, setting: Setting) -> None:
        setting.base()

        report = setting.merge(without_prints({"bert.enc.q": Q, "bert.enc.k": K}))

        assert [row["found"] for row in report["rows"]] == ["val_1", "val_2"]
        assert report["notes"] == ["the base's names lack the prefix 'bert.'"]

    def test_a_decoders_layer_is_not_taken_for_an_encoders(self, setting: Setting) -> None:
        setting.base(names={"q": "layer.0.q", "k": "layer.1.q"})

        lines = setting.refuse(without_prints({"decoder.layer.0.q": Q, "decoder.layer.1.q": K}))

        assert {line.split()[-1] for line in lines} == {"[E-TARGET-NOT-FOUND]"}

    def test_all_targets_are_tried_before_any_is_refused(self, setting: Setting) -> None:
        setting.base()

        lines = setting.refuse(without_prints({"a": Q, "enc.q": Q, "b": Q}))

        assert [line.split(":")[0] for line in lines] == ["a", "b"]


CONSTANT = """
    g (float[N, 2] x) => (float[N, 1] y) {
        w = Constant <value = float[2, 1] {1.0, 2.0}> ()
        [q] y = MatMul (x, w)
    }
"""


@pytest.mark.parametrize("make", [adapter, without_prints])
def test_a_weight_in_a_constant_node_is_changed_there(make: Any, tmp_path: Path) -> None:
    canonical = np.array([[1, 2]], np.float32)
    whole = make({"q": canonical}, count=2)
    base = save_model(model(CONSTANT, {}, {"q": "q"}), tmp_path / "b.onnx")
    output = tmp_path / "m.onnx"

    converted(save(whole, tmp_path), "--to", "onnx", "--base", base, "-o", output)

    assert np.allclose(matrix(output, 2), canonical + delta(whole, "q"), atol=1e-6)
    assert initializers(output) == []


def test_a_constant_node_of_another_shape_is_not_the_targets(
    tmp_path: Path, capsys: Captured
) -> None:
    base = save_model(model(CONSTANT, {}), tmp_path / "b.onnx")
    file = save(adapter({"q": weight(1, 8)}), tmp_path)

    (line,) = refused(capsys, file, "--to", "onnx", "--base", base)

    assert line.endswith("[E-TARGET-NOT-FOUND]")
