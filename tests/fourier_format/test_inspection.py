"""`inspect` says in short what an adapter holds."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from fourier_format import Adapter, EntrySet, Target, delta_weight, to_bytes
from fourier_format.inspection import as_text, summary
from fourier_format.transforms import delta_norms
from tests.fourier_format.samples import adapter, changed, with_first_set
from tests.tolerances import DELTA_F32


def summarised(whole: Adapter) -> dict[str, Any]:
    return summary(whole, len(to_bytes(whole)))


def every_entry_of(shape: tuple[int, int], transform: str) -> Adapter:
    """All mirrored pairs and all cells that are their own mirror are among every entry."""
    entries = np.argwhere(np.ones(shape)).astype(np.int32)
    coefficients = np.random.default_rng(2).standard_normal((2, len(entries))).astype(np.float32)
    all_of_it = EntrySet(id="a", shape=shape, entries=entries, coefficients=coefficients)
    targets = [Target(name=f"{i}", kind="linear", shape=shape, entries="a", row=i) for i in (0, 1)]
    return Adapter(alpha=1.0, entry_sets=(all_of_it,), targets=tuple(targets), transform=transform)


@pytest.mark.parametrize("shape", [(1, 1), (4, 6), (5, 7), (1, 8), (6, 5)])
@pytest.mark.parametrize("transform", ["dft2", "dct2", "dht2", "dwt2:db1", "dwt2:sym4"])
def test_norms_are_those_of_the_delta_weights(shape: tuple[int, int], transform: str) -> None:
    whole = every_entry_of(shape, transform)
    norms = [np.linalg.norm(delta_weight(whole, target)) for target in whole.targets]
    np.testing.assert_allclose(delta_norms(whole, whole.entry_sets[0]), norms, rtol=4 * DELTA_F32)


def test_the_norm_of_a_target_counts_its_own_scale() -> None:
    whole = adapter()
    first, *others = whole.targets
    whole = changed(whole, targets=(changed(first, alpha=-3.0), *others))
    for stated, target in zip(summarised(whole)["targets"]["list"], whole.targets, strict=True):
        norm = float(np.linalg.norm(delta_weight(whole, target)))
        assert stated["delta_norm"] == pytest.approx(norm, rel=4 * DELTA_F32)


def test_the_summary_is_plain_json_and_keeps_large_seeds_exact() -> None:
    found = json.loads(json.dumps(summarised(changed(adapter(), seed=2**64 - 1)), allow_nan=False))
    assert found["entry_sets"][0]["seed"] == str(2**64 - 1)


def test_the_summary_counts_what_is_there() -> None:
    found = summarised(adapter())
    assert found["targets"]["count"] == 5
    assert found["targets"]["kinds"] == {"linear": 5}
    assert found["targets"]["shapes"] == {"48 x 32": 3, "16 x 32": 2}
    assert found["coefficients"] == 3 * 20 + 2 * 12
    assert [s["dtype"] for s in found["entry_sets"]] == ["F32", "BF16"]
    assert [s["recipe"] for s in found["entry_sets"]] == [
        "uniform, splitmix64-fisher-yates, seed 7"
    ] * 2
    assert {r["name"]: r["dtype"] for r in found["replacements"]} == {
        "head.weight": "F16",
        "head.bias": "F64",
    }


def test_payload_is_every_byte_of_every_tensor() -> None:
    per_target = 32 * 4 + 8 + 32  # fingerprints
    entries = 20 * 8 + 12 * 8
    coefficients = 3 * 20 * 4 + 2 * 12 * 2
    size = summarised(adapter())["size"]
    assert size["payload_bytes"] == entries + coefficients + 5 * per_target + 64 * 2 + 4 * 8
    assert size["payload_share"] == round(size["payload_bytes"] / size["bytes"], 4)


def test_the_cost_is_set_beside_lora_of_rank_8_without_replacements() -> None:
    whole = adapter()
    found = summarised(whole)
    parameters = 8 * (3 * (48 + 32) + 2 * (16 + 32))
    file_bytes = found["size"]["bytes"] - 64 * 2 - 4 * 8
    lora_bytes = 8 * (3 * (48 + 32) * 4 + 2 * (16 + 32) * 2)
    assert found["lora"] == {
        "rank": 8,
        "parameters": parameters,
        "bytes": lora_bytes,
        "parameter_share": round(84 / parameters, 4),
        "byte_share": round(file_bytes / lora_bytes, 4),
    }


def test_the_text_says_what_people_ask_first() -> None:
    text = as_text(summarised(adapter()), "adapter.fft")
    for words in (
        "adapter.fft: FourierFT adapter, format 1.0",
        "name bert-tiny",
        "150",
        "5: 5 linear; 3 of 48 x 32, 2 of 16 x 32",
        "uniform, splitmix64-fisher-yates, seed 7",
        "head.weight",
        "of 5 base weights",
        "2: cat, dog",
    ):
        assert words in text


def test_the_text_calls_only_an_adapter_of_dft2_a_fourierft_adapter() -> None:
    for transform, words in (("dft2", "FourierFT"), ("dct2", "dct2"), ("dwt2:db1", "dwt2:db1")):
        text = as_text(summarised(every_entry_of((2, 3), transform)), "a.fft")
        assert text.startswith(f"a.fft: {words} adapter, format 1.0")


def test_the_text_of_a_bare_adapter_says_that_things_are_absent() -> None:
    text = as_text(summarised(every_entry_of((2, 3), "dft2")), "bare.fft")
    assert "not stated" in text
    assert "fingerprints  none" in text


def test_a_scale_of_its_own_is_mentioned() -> None:
    whole = adapter()
    first, *others = whole.targets
    text = as_text(summarised(changed(whole, targets=(changed(first, alpha=3.0), *others))), "a")
    assert "150 (1 of the targets have another)" in text


def test_a_file_cannot_forge_lines_of_the_text() -> None:
    hostile = "\x1b[2Jx\ny\u202e"
    whole = with_first_set(adapter())
    whole = changed(
        whole,
        labels=(hostile,),
        base_model={"name": hostile},
        producer={"name": hostile},
        replacements={"head\u202e": np.ones(2)},
    )
    for line in as_text(summarised(whole), hostile).splitlines():
        assert line.isprintable()
