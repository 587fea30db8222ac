"""Heads and biases that were trained beside the adapter are in the merged checkpoint."""

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
from fourier_converters.report import Report
from fourier_converters.safetensors import to_checkpoint
from fourier_format.adapter import Array
from fourier_format.errors import FourierFormatError, TargetNotFoundError
from tests.fourier_converters.adapters import delta
from tests.fourier_converters.graphs import weight
from tests.fourier_converters.safetensors.setting import (
    QUERY,
    VALUE,
    WEIGHTS,
    adapter,
    layout_of,
    linear,
    merge,
    read,
    write_base,
    write_shards,
)
from tests.tolerances import DELTA_F32

HEAD = {"classifier.weight": weight(3, 6, seed=20), "classifier.bias": weight(1, 3, seed=21)[0]}
OLD_HEAD = {"classifier.weight": weight(2, 6, seed=22), "classifier.bias": weight(1, 2, seed=23)[0]}
BIAS = weight(1, 6, seed=24)[0]


def put_in(
    replacements: Mapping[str, Array],
    folder: Path,
    tensors: Mapping[str, Array] = WEIGHTS,
    entries: Mapping[str, MapEntry] | None = None,
    config: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Array], Report]:
    """Merge an adapter of the query with replacements into a base of these tensors."""
    base = write_base(folder / "base", tensors, config or {"model_type": "bert"})
    whole = linear(QUERY, replacements=replacements)
    return merge(whole, base, mapping=Map(replacements=entries or {}))


def refusal(
    replacements: Mapping[str, Array],
    folder: Path,
    tensors: Mapping[str, Array] = WEIGHTS,
    entries: Mapping[str, MapEntry] | None = None,
) -> FourierFormatError:
    with pytest.raises(TargetNotFoundError) as caught:
        put_in(replacements, folder, tensors, entries)
    assert [path.name for path in folder.iterdir()] == ["base"]
    return caught.value


def assert_holds(merged: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    for name, array in expected.items():
        assert merged[name].dtype == array.dtype
        assert np.array_equal(merged[name], array)


class TestInPlace:
    def test_a_head_takes_the_place_of_the_bases(self, tmp_path: Path) -> None:
        trained = {name: array + np.float32(1) for name, array in OLD_HEAD.items()}

        merged, report = put_in(trained, tmp_path, WEIGHTS | OLD_HEAD)

        assert_holds(merged, trained)
        assert [(r.target, r.found, r.evidence, r.shape) for r in report.rows[1:]] == [
            ("classifier.weight", "classifier.weight", "replaced, by name", "2x6"),
            ("classifier.bias", "classifier.bias", "replaced, by name", "2"),
        ]
        assert report.notes == ()

    @pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
    def test_it_gets_the_dtype_of_the_bases(self, dtype: Any, tmp_path: Path) -> None:
        base = WEIGHTS | {f"{VALUE}.bias": WEIGHTS[f"{VALUE}.bias"].astype(dtype)}
        bias = weight(1, 4, seed=25)[0]

        merged, _ = put_in({f"{VALUE}.bias": bias}, tmp_path, base)

        assert_holds(merged, {f"{VALUE}.bias": bias.astype(dtype)})

    def test_it_follows_the_renaming_of_the_targets(self, tmp_path: Path) -> None:
        base = {name.removeprefix("bert."): array for name, array in WEIGHTS.items()}
        trained = weight(6, 6, seed=26)

        merged, _ = put_in({"bert.pooler.dense.weight": trained}, tmp_path, base)

        assert_holds(merged, {"pooler.dense.weight": trained})

    def test_a_bias_lies_beside_its_targets_weight_whatever_that_is_called(
        self, tmp_path: Path
    ) -> None:
        base = {"w.q.weight": WEIGHTS[f"{QUERY}.weight"], "w.q.bias": WEIGHTS[f"{QUERY}.bias"]}

        merged, _ = put_in({f"{QUERY}.bias": BIAS}, tmp_path, {"y": BIAS} | base)

        assert_holds(merged, {"w.q.bias": BIAS})

    def test_old_names_of_a_layer_norm_are_known(self, tmp_path: Path) -> None:
        base = WEIGHTS | {"bert.LayerNorm.gamma": BIAS, "bert.LayerNorm.beta": BIAS}
        trained = {"bert.LayerNorm.weight": BIAS + 1, "bert.LayerNorm.bias": BIAS + 2}

        merged, _ = put_in(trained, tmp_path, base)

        assert_holds(merged, {"bert.LayerNorm.gamma": BIAS + 1, "bert.LayerNorm.beta": BIAS + 2})
        assert set(merged) == set(base)

    def test_integers_are_replaced_by_integers(self, tmp_path: Path) -> None:
        base = WEIGHTS | {"bert.ids": np.arange(4)}
        trained = {"bert.ids": np.arange(4) + 2**60}  # beyond what a float holds

        merged, _ = put_in(trained, tmp_path, base)

        assert_holds(merged, trained)

    def test_a_map_names_the_tensor(self, tmp_path: Path) -> None:
        base = WEIGHTS | {"score.bias": BIAS}
        entries = {"classifier.bias": MapEntry(weight="score.bias")}

        merged, report = put_in({"classifier.bias": BIAS + 1}, tmp_path, base, entries)

        assert_holds(merged, {"score.bias": BIAS + 1})
        assert report.rows[1].evidence == "replaced, by map"

    def test_a_map_leaves_it_out(self, tmp_path: Path) -> None:
        entries = {"classifier.bias": MapEntry(skip=True)}

        merged, report = put_in({"classifier.bias": BIAS}, tmp_path, entries=entries)

        assert "classifier.bias" not in merged
        assert report.skipped == ("classifier.bias",)


class TestAdded:
    def test_a_head_that_the_base_lacks_is_added(self, tmp_path: Path) -> None:
        merged, report = put_in(HEAD, tmp_path)

        assert_holds(merged, HEAD)
        assert set(merged) == {*WEIGHTS, *HEAD}
        assert [row.evidence for row in report.rows[1:]] == ["added", "added"]
        assert "config.json does not describe the head" in report.notes[0]

    def test_everything_else_stays_as_it_was(self, tmp_path: Path) -> None:
        merged, _ = put_in(HEAD, tmp_path)

        assert_holds(merged, {n: a for n, a in WEIGHTS.items() if n != f"{QUERY}.weight"})
        path = tmp_path / "merged" / "model.safetensors"
        before = layout_of(tmp_path / "base" / "model.safetensors")
        assert [name for name, _ in layout_of(path)] == [name for name, _ in before] + [*HEAD]
        assert layout_of(path)[0] == ("__metadata__", {"format": "pt"})

    def test_the_safetensors_library_reads_it(self, tmp_path: Path) -> None:
        from safetensors.numpy import load_file

        put_in(HEAD, tmp_path)

        loaded = load_file(tmp_path / "merged" / "model.safetensors")
        assert_holds(loaded, HEAD)

    def test_a_wide_head_of_a_narrow_base_is_aligned(self, tmp_path: Path) -> None:
        base = {n: a.astype(np.float16) for n, a in WEIGHTS.items()}
        base |= {"odd": np.ones(3, np.float16), "flags": np.ones(3, np.uint8)}

        merged, _ = put_in(HEAD, tmp_path, base)

        assert_holds(merged, HEAD)
        stored = SafetensorsFile(tmp_path / "merged" / "model.safetensors").stored
        widths = {"F32": 4, "F16": 2, "U8": 1}
        assert all(place.start % widths[place.dtype] == 0 for place in stored.values())
        first, last = min(p.start for p in stored.values()), max(p.stop for p in stored.values())
        assert last - first == sum(p.stop - p.start for p in stored.values())  # no holes

    def test_it_goes_into_the_last_shard_and_into_the_index(self, tmp_path: Path) -> None:
        (one, *rest) = WEIGHTS.items()
        base = write_shards(tmp_path / "base", dict([one]), dict(rest))

        merge(linear(QUERY, replacements=HEAD), base)

        output = tmp_path / "merged"
        index = json.loads((output / "model.safetensors.index.json").read_text())
        before = json.loads((base / "model.safetensors.index.json").read_text())
        last = "model-00002-of-00002.safetensors"
        assert index["weight_map"] == before["weight_map"] | dict.fromkeys(HEAD, last)
        grown = sum(array.nbytes for array in HEAD.values())
        assert index["metadata"]["total_size"] == before["metadata"]["total_size"] + grown
        assert set(SafetensorsFile(output / last).names) == {name for name, _ in rest} | set(HEAD)
        assert_holds(read(output), HEAD)

    def test_the_data_of_the_others_keeps_its_order(self, tmp_path: Path) -> None:
        """The header of this base names them in another order than that in which they lie."""
        path = write_base(tmp_path / "base") / "model.safetensors"
        whole = path.read_bytes()
        start = 8 + int.from_bytes(whole[:8], "little")
        header = dict(reversed(layout_of(path)))
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + whole[start:])

        merge(linear(QUERY, replacements=HEAD), path.parent)

        before = SafetensorsFile(path).stored
        after = SafetensorsFile(tmp_path / "merged" / "model.safetensors").stored
        by_place = [sorted(s, key=lambda n, s=s: s[n].start) for s in (before, after)]  # type: ignore[misc]
        assert by_place[1] == [*by_place[0], *HEAD]
        assert list(after) == [*before, *HEAD]

    def test_it_gets_the_prefix_that_the_base_has(self, tmp_path: Path) -> None:
        base = {f"model.{name}": array for name, array in WEIGHTS.items()}

        merged, _ = put_in({"bert.head.weight": BIAS}, tmp_path, base)

        assert "model.bert.head.weight" in merged

    def test_it_keeps_its_name_where_the_base_lacks_a_prefix_that_it_has_not(
        self, tmp_path: Path
    ) -> None:
        """transformers loads such a mixture: a task's head on the checkpoint of the body alone."""
        base = {name.removeprefix("bert."): array for name, array in WEIGHTS.items()}

        merged, _ = put_in(HEAD, tmp_path, base)

        assert_holds(merged, HEAD)

    def test_a_parameter_that_a_module_of_the_base_lacks_is_an_error(self, tmp_path: Path) -> None:
        error = refusal({"bert.pooler.dense.bias": BIAS}, tmp_path)

        assert error.code == "E-REPLACEMENT-NOT-FOUND"
        assert "the base's module 'bert.pooler.dense' has no 'bias'" in str(error)

    def test_nothing_is_added_to_a_checkpoint_of_other_names(self, tmp_path: Path) -> None:
        """It would lie there under a name that nobody reads."""
        error = refusal(HEAD, tmp_path, {"w.q.weight": WEIGHTS[f"{QUERY}.weight"]})

        assert [v.where for v in error.violations] == list(HEAD)
        assert "the base has other names than the adapter" in str(error)


class TestAnotherShape:
    def test_a_head_for_more_labels_takes_the_old_ones_place(self, tmp_path: Path) -> None:
        merged, report = put_in(HEAD, tmp_path, WEIGHTS | OLD_HEAD)

        assert_holds(merged, HEAD)
        assert_holds(merged, {n: a for n, a in WEIGHTS.items() if n != f"{QUERY}.weight"})
        assert report.rows[1].evidence == "replaced, by name, was 2 x 6"
        assert "num_labels" in report.notes[0]

    def test_its_size_is_in_the_index(self, tmp_path: Path) -> None:
        base = write_shards(tmp_path / "base", WEIGHTS | OLD_HEAD, {"x": BIAS})

        merge(linear(QUERY, replacements=HEAD), base)

        index = json.loads((tmp_path / "merged" / "model.safetensors.index.json").read_text())
        tensors = read(tmp_path / "merged")
        assert index["metadata"]["total_size"] == sum(a.nbytes for a in tensors.values())
        assert set(index["weight_map"]) == set(tensors)

    def test_a_size_that_is_the_same_by_chance_hides_no_tensor(self, tmp_path: Path) -> None:
        base = write_shards(tmp_path / "base", WEIGHTS | HEAD)
        grown = sum(HEAD[n].nbytes - OLD_HEAD[n].nbytes for n in HEAD)
        extra = {"other.scale": np.ones(grown // 4, np.float32)}

        merge(linear(QUERY, replacements=OLD_HEAD | extra), base)

        index = json.loads((tmp_path / "merged" / "model.safetensors.index.json").read_text())
        assert "other.scale" in index["weight_map"]

    def test_half_a_head_of_another_shape_is_an_error(self, tmp_path: Path) -> None:
        weight_alone = {"classifier.weight": HEAD["classifier.weight"]}

        error = refusal(weight_alone, tmp_path, WEIGHTS | OLD_HEAD)

        (violation,) = error.violations
        assert violation.code == "E-REPLACEMENT-SHAPE"
        assert (violation.got, violation.expected) == ("3 x 6 in the adapter", "2 x 6 in the base")

    def test_a_targets_bias_of_another_shape_is_an_error(self, tmp_path: Path) -> None:
        error = refusal({f"{QUERY}.bias": weight(1, 7)[0]}, tmp_path)

        assert error.code == "E-REPLACEMENT-SHAPE"

    def test_a_targets_weight_of_another_shape_is_an_error(self, tmp_path: Path) -> None:
        both = {f"{QUERY}.weight": weight(7, 6), f"{QUERY}.bias": weight(1, 7)[0]}

        error = refusal(both, tmp_path)

        assert (error.code, error.violations[0].where) == ("E-REPLACEMENT-SHAPE", f"{QUERY}.weight")


class TestRefused:
    def test_a_float_for_an_integer_is_an_error(self, tmp_path: Path) -> None:
        error = refusal({"bert.ids": BIAS}, tmp_path, WEIGHTS | {"bert.ids": np.arange(6)})

        assert "the base holds 'bert.ids' as I64, and the replacement is F32" in str(error)

    def test_a_map_to_nothing_is_an_error(self, tmp_path: Path) -> None:
        entries = {"classifier.bias": MapEntry(weight="absent")}

        error = refusal({"classifier.bias": BIAS}, tmp_path, entries=entries)

        assert "the map names 'absent', which is not in the base" in str(error)

    def test_two_replacements_of_one_tensor_are_an_error(self, tmp_path: Path) -> None:
        entries = {"a.bias": MapEntry(weight=f"{QUERY}.bias")}

        error = refusal({f"{QUERY}.bias": BIAS, "a.bias": BIAS}, tmp_path, entries=entries)

        assert error.code == "E-USE-CLAIMED"

    def test_a_name_with_two_meanings_is_an_error(self, tmp_path: Path) -> None:
        base = {f"{side}.{name}": array for side in "xy" for name, array in WEIGHTS.items()}
        entries = {QUERY: MapEntry(weight=f"x.{QUERY}.weight")}
        folder = write_base(tmp_path / "base", base)
        whole = linear(QUERY, replacements={"bert.pooler.dense.weight": weight(6, 6)})

        with pytest.raises(TargetNotFoundError) as caught:
            to_checkpoint(whole, folder, tmp_path / "merged", mapping=Map(targets=entries))

        assert caught.value.code == "E-TARGET-AMBIGUOUS"

    @pytest.mark.parametrize("parameter", ["weight", "bias"])
    def test_what_could_be_added_under_two_names_is_an_error(
        self, parameter: str, tmp_path: Path
    ) -> None:
        base = {f"{side}.{name}": array for side in "xy" for name, array in WEIGHTS.items()}
        folder = write_base(tmp_path / "base", base)
        head = weight(5, 6)
        whole = adapter(
            {QUERY: (WEIGHTS[f"{QUERY}.weight"], "linear", "out_in")}
            | ({"head": (head, "linear", "out_in")} if parameter == "weight" else {}),
            replacements={f"head.{parameter}": head},
        )
        entries = {QUERY: MapEntry(weight=f"x.{QUERY}.weight")}

        with pytest.raises(TargetNotFoundError, match=r"x\.head\S*, y\.head") as caught:
            to_checkpoint(whole, folder, tmp_path / "merged", mapping=Map(targets=entries))

        assert caught.value.code == "E-TARGET-AMBIGUOUS"


class TestTiedHead:
    TABLE = weight(97, 6, seed=30)
    NAME = "transformer.wte.weight"

    def whole(self, **settings: Any) -> Any:
        """Returns an adapter of a head whose weight PEFT saved beside it, as it does."""
        own = {"lm_head.weight": self.TABLE}
        return adapter({"lm_head": (self.TABLE, "linear", "out_in")}, replacements=own, **settings)

    @pytest.mark.parametrize("prints", [True, False])
    @pytest.mark.parametrize("tie", [True, None])
    def test_it_gets_a_weight_of_its_own(
        self, tie: bool | None, prints: bool, tmp_path: Path
    ) -> None:
        config = {"model_type": "gpt2", "vocab_size": 97, "é": 1}
        config |= {} if tie is None else {"tie_word_embeddings": tie}
        base = write_base(tmp_path / "base", {self.NAME: self.TABLE}, config)
        whole = self.whole(prints=prints)

        merged, report = merge(whole, base)

        exact = self.TABLE.astype(np.float64) + delta(whole, "lm_head")
        assert np.abs(merged["lm_head.weight"] - exact).max() <= DELTA_F32 * np.abs(exact).max()
        assert_holds(merged, {self.NAME: self.TABLE})
        written = json.loads((tmp_path / "merged" / "config.json").read_text("utf-8"))
        assert written == config | {"tie_word_embeddings": False}
        assert report.rows[0].evidence.startswith("its own tensor")
        assert report.notes == (
            "config.json says tie_word_embeddings: false now, for lm_head.weight has changed alone",
        )

    @pytest.mark.parametrize("top", [True, False, None])
    def test_a_part_of_the_config_that_ties_it_does_so_no_more(
        self, top: bool | None, tmp_path: Path
    ) -> None:
        """As Gemma 3: the text model's own config ties its head, whatever the whole one says."""

        def config(top: bool | None, tied: bool) -> dict[str, Any]:
            parts = {
                "text_config": {"vocab_size": 97, "tie_word_embeddings": tied, "a": [1, {}]},
                "vision_config": {"hidden_size": 6},
            }
            return parts if top is None else parts | {"tie_word_embeddings": top}

        base = write_base(tmp_path / "base", {self.NAME: self.TABLE}, config(top, True))

        merged, report = merge(self.whole(), base)

        assert "lm_head.weight" in merged
        written = json.loads((tmp_path / "merged" / "config.json").read_text())
        assert written == config(False, False)
        assert any("tie_word_embeddings: false now" in note for note in report.notes)

    def test_a_config_that_ties_nothing_stays_as_it_is(self, tmp_path: Path) -> None:
        config = {"model_type": "gpt2", "vocab_size": 97, "tie_word_embeddings": False}
        tensors = {self.NAME: self.TABLE, "lm_head.weight": self.TABLE}

        _, report = merge(self.whole(), write_base(tmp_path / "base", tensors, config))

        assert json.loads((tmp_path / "merged" / "config.json").read_text()) == config
        assert report.notes == ()

    def test_a_map_that_leaves_its_tensor_out_leaves_nothing_to_merge_into(
        self, tmp_path: Path
    ) -> None:
        base = write_base(tmp_path / "base", {self.NAME: self.TABLE})
        mapping = Map(replacements={"lm_head.weight": MapEntry(skip=True)})

        with pytest.raises(TargetNotFoundError, match="which may be an embedding"):
            merge(self.whole(), base, mapping=mapping)

    @pytest.mark.parametrize("nested", [False, True])
    def test_an_embedding_that_a_head_is_tied_to_is_noted(
        self, nested: bool, tmp_path: Path
    ) -> None:
        config: dict[str, Any] = {"vocab_size": 97, "tie_word_embeddings": True}
        config = {"text_config": config} if nested else config
        base = write_base(tmp_path / "base", {self.NAME: self.TABLE}, config)

        _, report = merge(
            adapter({"transformer.wte": (self.TABLE, "embedding", "vocab_dim")}), base
        )

        assert report.notes == (f"{self.NAME} is tied to a head: what reads either has changed",)
