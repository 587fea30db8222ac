from __future__ import annotations

from fourier_trainers.torch import Summary, summary
from tests.fourier_trainers.torch import models


def test_numbers_are_of_the_base_the_adapter_and_lora() -> None:
    model = models.attached(models.layers(), "0", "2", n_pattern={"2": 5}, bias="targets")

    found = summary(model)

    assert found == Summary(targets=2, coefficients=17, whole=20, base=212, lora=2 * 8 * (8 + 12))
    assert found.trainable == 37


def test_the_text_compares_with_base_and_lora() -> None:
    assert str(summary(models.attached(models.layers(), "0", modules_to_save=("2",)))).split(
        "\n"
    ) == [
        "1 targets, 12 coefficients + 104 parameters trained whole",
        "54.7 % of the base's 212 parameters are trained",
        "LoRA r=8 on the same targets: 160; the coefficients are 7.5 % of that",
    ]


def test_shared_parameters_count_once() -> None:
    model = models.gpt2()
    base = sum(p.numel() for p in model.parameters())

    found = summary(models.attached(model, "c_attn", modules_to_save=("wte", "lm_head")))

    assert found.base == base
    assert found.whole == 50 * 16
