"""What torch.randperm draws, drawn without torch (registry, section 3.3)."""
# ruff: noqa: TID251 -- torch is what the draw is compared with

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourier_format import Sampling, sampling
from fourier_format.sampling import torch_randperm

THRESHOLD = 214_748_364

GOLDEN = [  # of PEFT 0.21.2 with torch 2.13
    (777, (768, 768), [(509, 359), (239, 147), (538, 367), (500, 200), (567, 103)]),
    (777, (1024, 1024), [(318, 103), (881, 391), (465, 1001), (181, 331), (104, 595)]),
    (777, (4096, 4096), [(335, 2151), (2011, 3029), (1651, 3799), (1580, 3138), (3609, 3735)]),
    (2024, (768, 768), [(607, 392), (331, 644), (592, 550), (323, 140), (69, 135)]),
]


def recipe(generator: str, seed: int) -> Sampling:
    return Sampling(method="torch-randperm", generator=generator, seed=seed)


def randperm(total: int, count: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    drawn: list[int] = torch.randperm(total, generator=generator)[:count].tolist()
    return drawn


@pytest.mark.parametrize(("seed", "shape", "entries"), GOLDEN)
def test_peft_draws_these_entries(
    seed: int, shape: tuple[int, int], entries: list[tuple[int, int]]
) -> None:
    found = sampling.draw(shape, 5, recipe(sampling.torch_generator(shape), seed))

    assert [tuple(pair) for pair in found.tolist()] == entries


@pytest.mark.parametrize("seed", [0, 1, 777, 2024, 2**31, 2**32 - 1, 2**32 + 5, 2**63 - 1])
@pytest.mark.parametrize("total", [1, 2, 3, 10, 623, 624, 625, 1000, 5000])
def test_whole_permutations_are_torchs(total: int, seed: int) -> None:
    assert torch_randperm.forward(total, total, seed).tolist() == randperm(total, total, seed)


@pytest.mark.parametrize("total", [65_537, 384 * 1536, 768 * 768, 2304 * 768, 4096 * 4096])
@pytest.mark.parametrize("seed", [777, 2024])
def test_the_heads_of_layers_permutations_are_torchs(total: int, seed: int) -> None:
    found = torch_randperm.forward(total, 10_000, seed)

    assert found.tolist() == randperm(total, 10_000, seed)


@given(st.integers(1, 3000), st.integers(0, 2**63 - 1), st.data())
def test_any_head_of_any_permutation_is_torchs(total: int, seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, total))

    assert torch_randperm.forward(total, count, seed).tolist() == randperm(total, count, seed)


def test_only_the_seeds_low_32_bits_count_as_in_torch() -> None:
    assert np.array_equal(
        torch_randperm.forward(1000, 100, 5), torch_randperm.forward(1000, 100, 2**32 + 5)
    )


def test_the_generator_changes_at_the_number_of_weights_where_torchs_does() -> None:
    assert torch_randperm.generator_for(THRESHOLD - 1) == "mt19937-fy32"
    assert torch_randperm.generator_for(THRESHOLD) == "mt19937-io64"
    assert sampling.torch_generator((28672, 8192)) == "mt19937-io64"


@pytest.mark.slow
@pytest.mark.parametrize("total", [THRESHOLD - 1, THRESHOLD, THRESHOLD + 1])
def test_heads_around_the_threshold_are_torchs(total: int) -> None:
    generator = torch_randperm.generator_for(total)
    draw = torch_randperm.forward if generator == "mt19937-fy32" else torch_randperm.inside_out

    assert draw(total, 1000, 777).tolist() == randperm(total, 1000, 777)


def inside_out_by_definition(total: int, count: int, seed: int) -> list[int]:
    """Return the draw as the registry writes it, with the whole list in memory."""
    words = torch_randperm._engine(seed).random_raw(2 * total).tolist()
    a: list[int] = []
    for i in range(total):
        z = (words[2 * i] * 2**32 + words[2 * i + 1]) % (i + 1)
        a.append(a[z] if z < i else i)
        a[z] = i
    return a[:count]


@given(st.integers(1, 500), st.integers(0, 2**64 - 1), st.data())
def test_inside_out_is_that_of_the_definition(total: int, seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, total))

    found = torch_randperm.inside_out(total, count, seed)

    assert found.tolist() == inside_out_by_definition(total, count, seed)


def test_inside_out_does_not_depend_on_how_it_is_cut_into_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = torch_randperm.inside_out(1000, 100, 777)
    monkeypatch.setattr(torch_randperm, "_CHUNK", 7)

    assert np.array_equal(torch_randperm.inside_out(1000, 100, 777), whole)


def test_the_engine_is_the_published_mersenne_twister() -> None:
    assert torch_randperm._engine(5489).random_raw() == 3499211612
