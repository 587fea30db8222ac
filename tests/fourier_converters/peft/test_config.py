"""The adapter_config.json that is written: the origin's own text, or what PEFT needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fourier_converters.peft import to_peft
from fourier_format import Adapter
from fourier_format.errors import InvalidAdapterError
from tests.fourier_converters.adapters import COUNT, replaced
from tests.fourier_converters.checkpoints import PREFIX, read_tensors
from tests.fourier_converters.peft.altered import with_origin, written


class TestConfig:
    def test_without_an_origin_it_says_what_peft_needs(self, two: Adapter, tmp_path: Path) -> None:
        found = written(replaced(two, base_model={"name": "tests/tiny"}), tmp_path)

        assert found == {
            "base_model_name_or_path": "tests/tiny",
            "inference_mode": True,
            "modules_to_save": None,
            "n_frequency": COUNT,
            "n_frequency_pattern": {},
            "peft_type": "FOURIERFT",
            "random_loc_seed": 777,
            "scaling": 10.0,
            "target_modules": r"a\.query|b\.query",
        }

    def test_an_origin_that_still_holds_is_kept_to_the_letter(
        self, two: Adapter, tmp_path: Path
    ) -> None:
        whole = with_origin(two)

        written(whole, tmp_path)

        text = (tmp_path / "peft" / "adapter_config.json").read_text("utf-8")
        assert whole.origin is not None
        assert text == whole.origin["text"]

    def test_a_changed_scale_is_written_and_the_rest_of_the_origin_kept(
        self, two: Adapter, tmp_path: Path
    ) -> None:
        whole = replaced(with_origin(two, task_type="SEQ_CLS", bias="all"), alpha=30.0)

        found = written(whole, tmp_path)

        assert found["scaling"] == 30.0
        assert found["task_type"] == "SEQ_CLS"
        assert found["bias"] == "all"

    def test_a_changed_scale_leaves_the_modules_to_save_alone(
        self, two: Adapter, tmp_path: Path
    ) -> None:
        head = {"classifier.dense.weight": np.ones((2, 2)), "norm.bias": np.ones(6)}
        origin = with_origin(two, modules_to_save=["classifier"], bias="all")
        whole = replaced(origin, alpha=30.0, replacements=head)

        assert written(whole, tmp_path)["modules_to_save"] == ["classifier"]

    @pytest.mark.parametrize("text", ["", "{", "[]"])
    def test_an_origin_that_is_no_json_object_is_refused(
        self, text: str, two: Adapter, tmp_path: Path
    ) -> None:
        whole = replaced(two, origin={"format": "peft", "text": text})

        with pytest.raises(InvalidAdapterError, match=r"^origin"):
            to_peft(whole, tmp_path / "peft")

    def test_nothing_of_another_kind_of_adapters_config_is_kept(
        self, two: Adapter, tmp_path: Path
    ) -> None:
        found = written(with_origin(two, peft_type="LORA", r=8), tmp_path)

        assert found["peft_type"] == "FOURIERFT"
        assert "r" not in found

    def test_an_origin_of_another_system_is_not_taken_for_peft(
        self, two: Adapter, tmp_path: Path
    ) -> None:
        whole = replaced(two, origin={"format": "keras", "text": "layers: 2"})

        assert written(whole, tmp_path)["peft_type"] == "FOURIERFT"

    def test_saved_modules_are_those_replaced_whole_outside_the_targets(
        self, two: Adapter, tmp_path: Path
    ) -> None:
        """PEFT cannot load a saved module without all its parameters."""
        ones = {"a.query.bias": np.ones(6), "head.weight": np.ones((2, 2)), "head.bias": np.ones(2)}
        ones |= {"norm.bias": np.ones(6)}

        found = written(replaced(two, replacements=ones), tmp_path)

        tensors = read_tensors(tmp_path / "peft" / "adapter_model.safetensors")
        assert found["modules_to_save"] == ["head"]
        assert set(tensors) == {
            f"{PREFIX}a.query.fourierft_spectrum",
            f"{PREFIX}b.query.fourierft_spectrum",
            f"{PREFIX}a.query.base_layer.bias",
            f"{PREFIX}head.weight",
            f"{PREFIX}head.bias",
            f"{PREFIX}norm.bias",
        }
