"""The records answer the questions that converters ask."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import fourier_format
from fourier_format.errors import TargetNotFoundError
from tests.fourier_format import minimal, samples


def test_a_target_is_found_by_name_and_leads_to_its_set_and_coefficients() -> None:
    adapter = samples.adapter()

    target = adapter.target("layer.1.down")

    assert adapter.entry_set(target).id == "16x32"
    assert np.array_equal(adapter.coefficients(target), adapter.entry_sets[1].coefficients[1])


def test_a_name_that_is_not_there_is_refused_with_names_near_to_it() -> None:
    adapter = samples.adapter()

    with pytest.raises(TargetNotFoundError) as caught:
        adapter.target("layer.1.dwn")
    with pytest.raises(TargetNotFoundError) as by_weight:
        fourier_format.delta_weight(adapter, "Q")

    assert caught.value.violations[0].where == "layer.1.dwn"
    assert "layer.1.down" in str(caught.value)
    assert str(by_weight.value) == "Q: the adapter has no target of this name [E-TARGET-NOT-FOUND]"


def test_a_set_that_is_not_there_is_a_key_error() -> None:
    adapter = minimal.adapter()
    stray = samples.changed(adapter.targets[0], entries="other")

    with pytest.raises(KeyError, match="other"):
        adapter.entry_set(stray)


@pytest.mark.parametrize(("own", "expected"), [(None, 2.5), (7.0, 7.0), (0, 0)])
def test_a_targets_own_scale_comes_before_the_adapters(own: float | None, expected: float) -> None:
    adapter = minimal.adapter()

    assert adapter.alpha_of(samples.changed(adapter.targets[0], alpha=own)) == expected


def test_records_are_frozen_and_their_arrays_read_only() -> None:
    entry_set = minimal.adapter().entry_sets[0]

    with pytest.raises(dataclasses.FrozenInstanceError):
        entry_set.id = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        entry_set.coefficients[0, 0] = 1


def test_an_array_given_to_a_record_stays_writable_for_its_owner() -> None:
    own = np.zeros((1, 3), np.float32)

    samples.changed(minimal.adapter().entry_sets[0], coefficients=own)

    own[0, 0] = 1  # no error


def test_representations_are_short() -> None:
    adapter = minimal.adapter()

    assert repr(adapter) == "Adapter<dft2, 1 targets, 3 coefficients, alpha=2.5>"
    assert repr(adapter.entry_sets[0]) == "EntrySet<4x6, n=3, L=1, float32>"
