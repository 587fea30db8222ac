"""Which tensor a target means: by map, by name, by fingerprint, and never in doubt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fourier_converters.base.safetensors_file import SafetensorsFile
from fourier_converters.mapping import Map, MapEntry
from fourier_converters.report import Row
from fourier_converters.safetensors import to_checkpoint
from fourier_format import Adapter, combine
from fourier_format.adapter import Array
from fourier_format.errors import (
    BaseMismatchError,
    FourierFormatError,
    TargetNotFoundError,
    UnsupportedError,
)
from fourier_format.fingerprint import without_fingerprints
from tests.fourier_converters.adapters import delta
from tests.fourier_converters.graphs import weight
from tests.fourier_converters.safetensors.setting import (
    CONFIG,
    QUERY,
    VALUE,
    WEIGHTS,
    adapter,
    linear,
    merge,
    write_base,
)
from tests.fourier_format import samples

SQUARE = weight(6, 6, seed=1)


def found(
    whole: Adapter,
    folder: Path,
    tensors: Mapping[str, Array] = WEIGHTS,
    config: Mapping[str, Any] | None = CONFIG,
    **settings: Any,
) -> Row:
    """Merge, and return the first target's row; the tensor that it names has the delta weight."""
    base = write_base(folder / "base", tensors, config)
    merged, report = merge(whole, base, **settings)
    row = report.rows[0]
    tensor, _, layout = row.found.partition(" ")
    change = merged[tensor].astype(np.float64) - tensors[tensor].astype(np.float64)
    expected = delta(whole, row.target)
    largest = np.abs(expected).max()
    assert np.allclose(change.T if layout else change, expected, atol=0.05 * largest)
    return row


def refusal(
    whole: Adapter,
    folder: Path,
    tensors: Mapping[str, Array] = WEIGHTS,
    config: Mapping[str, Any] | None = CONFIG,
    **settings: Any,
) -> FourierFormatError:
    base = write_base(folder / "base", tensors, config)
    with pytest.raises(FourierFormatError) as caught:
        merge(whole, base, **settings)
    assert [path.name for path in folder.iterdir()] == ["base"]
    return caught.value


def renamed(change: Mapping[str, str]) -> dict[str, Array]:
    """Returns `WEIGHTS` with parts of their names replaced."""
    result = {}
    for name, array in WEIGHTS.items():
        new = name
        for old, replacement in change.items():
            new = new.replace(old, replacement)
        result[new] = array
    return result


class TestByName:
    def test_a_target_is_found_by_its_name(self, tmp_path: Path) -> None:
        row = found(linear(QUERY), tmp_path)

        assert (row.found, row.evidence) == (f"{QUERY}.weight", "name + fingerprint")
        assert (row.shape, row.n) == ("6x6", 5)

    def test_targets_of_one_entry_set_have_a_fingerprint_each(self, tmp_path: Path) -> None:
        whole = combine([linear(QUERY, "bert.pooler.dense")], [1])
        assert len(whole.entry_sets) == 1

        _, report = merge(whole, write_base(tmp_path / "base"), verify_full=True)

        assert [row.evidence for row in report.rows] == ["name + fingerprint"] * 2

    def test_without_fingerprints_the_name_alone_decides(self, tmp_path: Path) -> None:
        assert found(linear(QUERY, prints=False), tmp_path).evidence == "name"

    @pytest.mark.parametrize(
        ("change", "note"),
        [
            ({"bert.": ""}, "the base's names lack the prefix 'bert.'"),
            ({"bert.": "model.bert."}, "the base's names have the prefix 'model.'"),
        ],
    )
    def test_a_prefix_more_or_less_is_one_renaming_for_all(
        self, change: dict[str, str], note: str, tmp_path: Path
    ) -> None:
        base = write_base(tmp_path / "base", renamed(change))

        _, report = merge(linear(QUERY, VALUE), base)

        assert [row.evidence for row in report.rows] == ["name + fingerprint"] * 2
        assert note in report.notes

    def test_two_modules_that_could_be_meant_are_an_error(self, tmp_path: Path) -> None:
        tensors = {"x.a.q.weight": SQUARE, "y.a.q.weight": SQUARE}
        whole = adapter({"a.q": (SQUARE, "linear", "out_in")})

        error = refusal(whole, tmp_path, tensors)

        assert error.code == "E-TARGET-AMBIGUOUS"
        assert "x.a.q.weight, y.a.q.weight" in str(error)

    def test_all_targets_that_are_not_found_are_named(self, tmp_path: Path) -> None:
        whole = linear(QUERY, VALUE, prints=False)

        error = refusal(whole, tmp_path, {"other.weight": SQUARE})

        assert isinstance(error, TargetNotFoundError)
        assert [v.where for v in error.violations] == [QUERY, VALUE]
        assert "1 weights of shape (out, in) 6 x 6: other.weight" in str(error)

    def test_a_weight_of_this_name_and_another_shape_is_an_error(self, tmp_path: Path) -> None:
        error = refusal(linear(QUERY), tmp_path, {f"{QUERY}.weight": weight(6, 5)})

        assert error.code == "E-TARGET-NOT-FOUND"
        assert "(got 6 x 5, expected (out, in) 6 x 6)" in str(error)

    def test_a_quantised_weight_is_an_error(self, tmp_path: Path) -> None:
        error = refusal(linear(QUERY), tmp_path, {f"{QUERY}.weight": np.ones((6, 6), np.int8)})

        assert isinstance(error, UnsupportedError)
        assert f"the base holds '{QUERY}.weight' as I8" in str(error)

    def test_a_kind_that_torch_does_not_have_is_refused(self, tmp_path: Path) -> None:
        whole = linear(QUERY)
        target = samples.changed(whole.targets[0], kind="einsum_dense")

        error = refusal(samples.changed(whole, targets=(target,)), tmp_path)

        assert error.code == "E-CONVERSION-UNSUPPORTED"

    def test_an_embedding_is_no_linear_weight(self, tmp_path: Path) -> None:
        table = weight(9, 4)
        whole = adapter({"emb": (table, "embedding", "vocab_dim")}, prints=False)

        assert refusal(whole, tmp_path, {"emb.weight": weight(4, 9)}).code == "E-TARGET-NOT-FOUND"


class TestOrientation:
    @pytest.mark.parametrize("prints", [True, False])
    def test_conv1d_weights_are_stored_in_out(self, prints: bool, tmp_path: Path) -> None:
        whole = adapter({"h.0.c_attn": (SQUARE, "linear", "in_out")}, prints=prints)

        row = found(whole, tmp_path, {"h.0.c_attn.weight": SQUARE}, {"model_type": "gpt2"})

        assert row.found == "h.0.c_attn.weight (in_out)"

    def test_the_fingerprint_tells_what_no_config_does(self, tmp_path: Path) -> None:
        whole = adapter({"h.0.c_attn": (SQUARE, "linear", "in_out")})

        row = found(whole, tmp_path, {"h.0.c_attn.weight": SQUARE}, None)

        assert row.found == "h.0.c_attn.weight (in_out)"

    def test_the_shape_tells_it_where_it_is_not_square(self, tmp_path: Path) -> None:
        tall = weight(6, 4)
        whole = adapter({"h.q": (tall, "linear", "in_out")}, prints=False)

        assert found(whole, tmp_path, {"h.q.weight": tall}, None).found == "h.q.weight (in_out)"

    def test_a_square_weight_of_which_nothing_tells_is_an_error(self, tmp_path: Path) -> None:
        whole = adapter({"q": (SQUARE, "linear", "out_in")}, prints=False)

        error = refusal(whole, tmp_path, {"q.weight": SQUARE}, None)

        assert error.code == "E-ORIENTATION-UNKNOWN"
        assert "no model type in config.json" in str(error)

    def test_a_conv1d_name_of_an_unknown_model_is_an_error(self, tmp_path: Path) -> None:
        whole = adapter({"c_attn": (SQUARE, "linear", "out_in")}, prints=False)

        error = refusal(whole, tmp_path, {"c_attn.weight": SQUARE}, {"model_type": "new"})

        assert error.code == "E-ORIENTATION-UNKNOWN"

    def test_a_shape_that_contradicts_the_model_type_is_an_error(self, tmp_path: Path) -> None:
        """Without a fingerprint a Conv1D weight of the other shape is another model's."""
        tall = weight(6, 4)
        whole = adapter({"c_attn": (tall, "linear", "out_in")}, prints=False)

        error = refusal(whole, tmp_path, {"c_attn.weight": tall}, {"model_type": "gpt2"})

        assert error.code == "E-TARGET-NOT-FOUND"

    def test_the_model_type_tells_it_of_a_weight_that_is_its_own_transpose(
        self, tmp_path: Path
    ) -> None:
        symmetric = SQUARE + SQUARE.T
        whole = adapter({"c_attn": (symmetric, "linear", "in_out")})

        row = found(whole, tmp_path, {"c_attn.weight": symmetric}, {"model_type": "gpt2"})

        assert row.found == "c_attn.weight (in_out)"

    @pytest.mark.parametrize("layout", ["out_in", "in_out"])
    @pytest.mark.parametrize("everywhere", [True, False])
    def test_the_map_tells_it(self, layout: str, everywhere: bool, tmp_path: Path) -> None:
        whole = adapter({"q": (SQUARE, "linear", layout)}, prints=False)
        entry = MapEntry(layout=layout)
        mapping = Map(layout=layout) if everywhere else Map(targets={"q": entry})

        row = found(whole, tmp_path, {"q.weight": SQUARE}, None, mapping=mapping)

        assert row.found.endswith("(in_out)") == (layout == "in_out")

    def test_the_fingerprint_is_believed_rather_than_the_model_type(self, tmp_path: Path) -> None:
        whole = adapter({"c_attn": (SQUARE, "linear", "out_in")})

        row = found(whole, tmp_path, {"c_attn.weight": SQUARE}, {"model_type": "gpt2"})

        assert row.found == "c_attn.weight"

    def test_a_map_that_contradicts_the_fingerprint_is_an_error(self, tmp_path: Path) -> None:
        mapping = Map(layout="in_out")

        error = refusal(linear(QUERY), tmp_path, mapping=mapping)

        assert error.code == "E-EVIDENCE-DISAGREES"


class TestByFingerprint:
    def test_a_renamed_checkpoint_is_matched_by_its_values(self, tmp_path: Path) -> None:
        row = found(
            linear(QUERY), tmp_path, renamed({"bert.encoder.layer.0": "blocks.0", "query": "wq"})
        )

        assert (row.found, row.evidence) == ("blocks.0.wq.weight", "fingerprint")

    def test_a_transposed_weight_is_found_too(self, tmp_path: Path) -> None:
        tensors = {"x": WEIGHTS[f"{VALUE}.weight"].T.copy(), "y": weight(6, 4, seed=9)}

        row = found(linear(VALUE), tmp_path, tensors)

        assert row.found == "x (in_out)"

    @pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
    def test_samples_are_compared_after_rounding(self, dtype: Any, tmp_path: Path) -> None:
        tensors = {"x": WEIGHTS[f"{VALUE}.weight"].astype(dtype)}

        assert found(linear(VALUE), tmp_path, tensors).evidence == "fingerprint"

    def test_what_is_of_a_dtype_that_nobody_knows_is_passed_over(self, tmp_path: Path) -> None:
        tensors = {"x": SQUARE, "y": np.ones((6, 6), np.int8)}
        base = write_base(tmp_path / "base", tensors)
        path = base / "model.safetensors"
        path.write_bytes(path.read_bytes().replace(b'"I8"', b'"F8"'))

        to_checkpoint(linear(QUERY), base, tmp_path / "merged")

        stored = SafetensorsFile(tmp_path / "merged" / path.name).stored
        assert stored["y"].dtype == "F8"

    def test_two_weights_of_equal_values_are_ambiguous(self, tmp_path: Path) -> None:
        error = refusal(linear(QUERY), tmp_path, {"x": SQUARE, "y": SQUARE})

        assert error.code == "E-TARGET-AMBIGUOUS"
        assert "could be any of x, y" in str(error)

    def test_a_weight_that_is_its_own_transpose_is_ambiguous(self, tmp_path: Path) -> None:
        symmetric = SQUARE + SQUARE.T
        whole = adapter({"q": (symmetric, "linear", "out_in")})

        assert refusal(whole, tmp_path, {"x": symmetric}).code == "E-TARGET-AMBIGUOUS"

    def test_no_weight_with_this_fingerprint_is_an_error(self, tmp_path: Path) -> None:
        error = refusal(linear(QUERY), tmp_path, {"x": weight(6, 6, seed=9)})

        assert error.code == "E-TARGET-NOT-FOUND"

    def test_a_head_is_not_taken_for_the_embedding_that_it_is_tied_to(self, tmp_path: Path) -> None:
        """The embedding would change with it, and the adapter never changed that."""
        table = weight(97, 6)
        whole = adapter({"lm_head": (table, "linear", "out_in")})

        error = refusal(whole, tmp_path, {"transformer.wte.weight": table})

        assert error.code == "E-TARGET-AMBIGUOUS"
        assert "'transformer.wte.weight', which may be an embedding" in str(error)

    def test_two_targets_of_one_weight_are_an_error(self, tmp_path: Path) -> None:
        whole = adapter(dict.fromkeys(("q", "k"), (SQUARE, "linear", "out_in")))

        error = refusal(whole, tmp_path, {"x": SQUARE})

        assert error.code == "E-USE-CLAIMED"
        assert "the weight x is claimed by q too" in str(error)


class TestTheBase:
    def test_another_checkpoint_of_the_same_model_is_refused(self, tmp_path: Path) -> None:
        other = {name: array + np.float32(1e-3) for name, array in WEIGHTS.items()}

        error = refusal(linear(QUERY, VALUE), tmp_path, other)

        assert isinstance(error, BaseMismatchError)
        assert [v.where for v in error.violations] == [QUERY, VALUE]

    def test_a_name_and_a_fingerprint_that_disagree_are_an_error(self, tmp_path: Path) -> None:
        swapped = {"query": "x", "pooler.dense": "encoder.layer.0.query"}

        error = refusal(linear(QUERY), tmp_path, renamed(swapped))

        assert error.code == "E-EVIDENCE-DISAGREES"
        assert "fingerprint: bert.encoder.layer.0.x.weight" in str(error)

    def test_the_norm_shows_what_the_samples_do_not(self, tmp_path: Path) -> None:
        tensors = {"q.weight": weight(60, 60)}
        whole = linear("q", tensors=tensors)
        changed = tensors["q.weight"].copy()
        row, column = np.argwhere(changed == unsampled(changed))[0]
        changed[row, column] += 1

        error = refusal(whole, tmp_path, {"q.weight": changed})

        assert isinstance(error, BaseMismatchError)
        assert "has another norm" in str(error)

    def test_the_digest_shows_what_the_norm_does_not(self, tmp_path: Path) -> None:
        tensors = {"q.weight": weight(60, 60)}
        whole = linear("q", tensors=tensors)
        changed = tensors["q.weight"].copy()
        changed[changed == unsampled(changed)] *= -1

        error = refusal(whole, tmp_path, {"q.weight": changed}, verify_full=True)
        merge(whole, tmp_path / "base")

        assert isinstance(error, BaseMismatchError)
        assert "has another SHA-256" in str(error)

    def test_what_cannot_be_verified_is_noted(self, tmp_path: Path) -> None:
        half = WEIGHTS | {f"{QUERY}.weight": WEIGHTS[f"{QUERY}.weight"].astype(np.float16)}
        whole = linear(QUERY)
        one, two = (tmp_path / name for name in ("one", "two"))

        _, rounded = merge(whole, write_base(one / "base", half), verify_full=True)
        _, unknown = merge(without_fingerprints(whole), write_base(two / "base"), verify_full=True)

        assert rounded.notes == (
            f"{QUERY}: SHA-256 not comparable, the base holds F16 and the fingerprint is of F32",
        )
        assert unknown.notes == (f"{QUERY}: the adapter has no fingerprint to verify",)

    def test_a_full_check_of_the_right_base_has_nothing_to_say(self, tmp_path: Path) -> None:
        _, report = merge(linear(QUERY), write_base(tmp_path / "base"), verify_full=True)

        assert report.notes == ()


class TestMap:
    def test_a_map_names_the_weight(self, tmp_path: Path) -> None:
        targets = {QUERY: MapEntry(weight="bert.pooler.dense.weight")}
        whole = adapter({QUERY: (WEIGHTS["bert.pooler.dense.weight"], "linear", "out_in")})

        row = found(whole, tmp_path, targets=targets)

        assert (row.found, row.evidence) == ("bert.pooler.dense.weight", "map + fingerprint")

    def test_a_map_cannot_merge_into_another_weight(self, tmp_path: Path) -> None:
        targets = {QUERY: MapEntry(weight="bert.pooler.dense.weight")}

        assert refusal(linear(QUERY), tmp_path, targets=targets).code == "E-EVIDENCE-DISAGREES"

    def test_a_name_that_is_not_in_the_base_is_an_error(self, tmp_path: Path) -> None:
        error = refusal(linear(QUERY), tmp_path, targets={QUERY: MapEntry(weight="nothing")})

        assert "the map names 'nothing', which is not in the base" in str(error)

    def test_a_target_can_be_left_out(self, tmp_path: Path) -> None:
        base = write_base(tmp_path / "base")

        merged, report = merge(linear(QUERY, VALUE), base, {VALUE: MapEntry(skip=True)})

        assert np.array_equal(merged[f"{VALUE}.weight"], WEIGHTS[f"{VALUE}.weight"])
        assert [row.target for row in report.rows] == [QUERY]
        assert report.skipped == (VALUE,)

    def test_a_head_can_be_merged_into_the_embedding_that_it_is_tied_to(
        self, tmp_path: Path
    ) -> None:
        table = weight(97, 6)
        whole = adapter({"lm_head": (table, "linear", "out_in")})
        targets = {"lm_head": MapEntry(weight="wte.weight")}

        row = found(whole, tmp_path, {"wte.weight": table}, targets=targets)

        assert row.evidence == "map + fingerprint"
        config = json.loads((tmp_path / "merged" / "config.json").read_text())
        assert "tie_word_embeddings" not in config


def unsampled(matrix: Array) -> np.generic:
    """Returns a value of the matrix that is none of its fingerprint's samples."""
    from fourier_format.fingerprint import samples_of

    (first, *_) = np.setdiff1d(matrix.reshape(-1), samples_of(matrix))
    value: np.generic = first
    return value
