"""A recipe is drawn, or refused in words; the stored entries win (spec, clause 7)."""

from __future__ import annotations

import numpy as np
import pytest

from fourier_format import Sampling, sampling
from fourier_format.errors import UsageError

BAND = {"centre": 3.0, "width": 5.0}
RECIPES = [
    Sampling(method="uniform", generator="splitmix64-fisher-yates", seed=7),
    Sampling(method="band-pass", generator="splitmix64-rejection", seed=7, parameters=BAND),
    Sampling(method="torch-randperm", generator="mt19937-fy32", seed=7),
    Sampling(method="torch-randperm", generator="mt19937-io64", seed=7),
]


def test_every_registered_recipe_is_tested_here() -> None:
    assert {(r.method, r.generator) for r in RECIPES} == set(sampling.GENERATORS)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.generator)
@pytest.mark.parametrize("shape", [(24, 40), (40, 24)])
def test_entries_are_distinct_int32_pairs_inside_the_spectrum(
    recipe: Sampling, shape: tuple[int, int]
) -> None:
    entries = sampling.draw(shape, 50, recipe)

    assert entries.dtype == np.int32
    assert entries.shape == (50, 2)
    assert len(set(map(tuple, entries.tolist()))) == 50
    assert (entries >= 0).all()
    assert (entries < shape).all()
    assert sampling.mismatch(shape, entries, recipe, None) is None
    assert sampling.is_known(recipe)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.generator)
def test_a_recipe_without_a_seed_takes_the_adapters(recipe: Sampling) -> None:
    without = Sampling(
        method=recipe.method, generator=recipe.generator, parameters=recipe.parameters
    )

    found = sampling.draw((24, 40), 20, without, seed=7)

    assert np.array_equal(found, sampling.draw((24, 40), 20, recipe, seed=8))


def test_the_largest_shape_gives_entries_that_int32_holds() -> None:
    side = 2**31 - 1
    recipe = Sampling(method="uniform", generator="splitmix64-fisher-yates", seed=1)

    entries = sampling.draw((side, side), 100, recipe)

    assert (entries >= 0).all()
    assert (entries < side).all()
    assert entries.max() > 2**30


def test_ten_thousand_entries_of_a_large_layer_can_be_drawn_by_every_fast_recipe() -> None:
    wide = Sampling(
        method="band-pass",
        generator="splitmix64-rejection",
        seed=7,
        parameters={"centre": 500.0, "width": 400.0},
    )
    for recipe in (RECIPES[0], wide, RECIPES[2]):
        entries = sampling.draw((4096, 4096), 10_000, recipe)

        assert np.unique(entries, axis=0).shape == (10_000, 2)


@pytest.mark.parametrize(
    ("method", "generator"),
    [("explicit", None), ("uniform", "mt19937-fy32"), ("uniform", None), ("dream", "moon")],
)
def test_a_pair_that_is_not_registered_is_refused(method: str, generator: str | None) -> None:
    recipe = Sampling(method=method, generator=generator, seed=1)

    assert not sampling.is_known(recipe)
    with pytest.raises(UsageError) as caught:
        sampling.draw((4, 4), 1, recipe)
    assert caught.value.code == "E-SAMPLING-UNKNOWN"


def test_a_draw_without_any_seed_is_refused() -> None:
    recipe = Sampling(method="uniform", generator="splitmix64-fisher-yates")

    with pytest.raises(UsageError, match="seed") as caught:
        sampling.draw((4, 4), 1, recipe)
    assert caught.value.code == "E-FIELD-MISSING"


@pytest.mark.parametrize("count", [0, -1, 17])
def test_more_entries_than_there_are_or_none_are_refused(count: int) -> None:
    with pytest.raises(UsageError, match="1 to 16") as caught:
        sampling.draw((4, 4), count, RECIPES[0])
    assert caught.value.code == "E-FIELD-VALUE"


def test_the_first_entry_that_differs_is_named() -> None:
    entries = sampling.draw((24, 40), 50, RECIPES[0]).copy()
    entries[[30, 40]] = [[1, 2], [3, 4]]

    violation = sampling.mismatch((24, 40), entries, RECIPES[0], None)

    assert violation is not None
    assert violation.code == "E-SAMPLING-MISMATCH"
    assert "2 of 50" in violation.problem
    assert "first 30" in violation.problem
    assert violation.got == "(1, 2)"


def test_the_order_of_the_entries_counts() -> None:
    entries = sampling.draw((24, 40), 50, RECIPES[0])

    assert sampling.mismatch((24, 40), entries[::-1], RECIPES[0], None) is not None


def test_a_recipe_that_cannot_be_drawn_is_a_mismatch_with_the_reason() -> None:
    recipe = Sampling(method="uniform", generator="splitmix64-fisher-yates")

    violation = sampling.mismatch((4, 4), np.zeros((1, 2), np.int32), recipe, None)

    assert violation is not None
    assert "cannot be drawn" in violation.problem
