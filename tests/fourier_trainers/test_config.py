from __future__ import annotations

import math
from typing import Any

import pytest

from fourier_format.errors import UsageError
from fourier_trainers.torch import BandPass, FourierConfig, Uniform


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 0),
        ("n", 1.5),
        ("n", True),
        ("alpha", math.inf),
        ("alpha", "150"),
        ("gain", 0.0),
        ("gain", -1.0),
        ("gain", math.nan),
        ("seed", -1),
        ("seed", 2**64),
        ("init", "ones"),
        ("bias", "some"),
        ("path", "fast"),
        ("reached", "no"),
        ("entries", "uniform"),
        ("entries", Uniform),
        ("n_pattern", {"query": 0}),
        ("alpha_pattern", {"query": math.nan}),
        ("target_modules", ()),
        ("target_modules", ""),
        ("modules_to_save", "classifier"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_field_s_name(field: str, value: Any) -> None:
    given = {"target_modules": ("query",), field: value}

    with pytest.raises(UsageError, match=rf"FourierConfig\.{field}: not allowed \(got .*expected"):
        FourierConfig(**given)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        FourierConfig(target_modules=("query",), n=0, gain=0, bias="x")  # type: ignore[arg-type]

    fields = [violation.where for violation in caught.value.violations]
    assert fields == ["FourierConfig.n", "FourierConfig.gain", "FourierConfig.bias"]


def test_the_defaults_are_the_paper_s_with_a_start_at_the_base() -> None:
    config = FourierConfig(target_modules="all-linear")

    assert (config.n, config.alpha, config.init, config.seed) == (1000, 150.0, "zeros", 777)
    assert isinstance(config.entries, Uniform)


def test_a_band_pass_keeps_its_centre_and_width() -> None:
    config = FourierConfig(target_modules=("query",), entries=BandPass(20, 200))

    assert config.entries == BandPass(centre=20, width=200)
