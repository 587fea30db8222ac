"""What is measured of each target, held to its delta weight."""

from __future__ import annotations

import numpy as np
import pytest

from fourier_converters.html import measuring
from fourier_converters.html.measuring import BaseWeight, by_change, measure
from fourier_format import delta_weight
from fourier_format.adapter import TRANSFORMS
from tests.fourier_converters.adapters import replaced
from tests.fourier_converters.html.settings import layered, made
from tests.fourier_format import samples


def quiet(_: str) -> None:
    """Is told, and says nothing."""


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_norms_are_those_of_the_delta_weights(transform: str) -> None:
    adapter = made(["a", "b"], transform=transform)

    for one in measure(adapter, {}, quiet):
        whole = delta_weight(adapter, one.target, np.float64)
        assert one.norm == pytest.approx(np.linalg.norm(whole), rel=1e-9)
        assert one.spectral == pytest.approx(np.linalg.norm(whole, 2), rel=1e-6)


def test_norms_are_the_same_whatever_the_number_of_targets() -> None:
    many = made([f"m{i}" for i in range(150)])

    for one in measure(many, {}, quiet)[::37]:
        expected = np.linalg.norm(delta_weight(many, one.target, np.float64))
        assert one.norm == pytest.approx(expected, rel=1e-9)


def test_the_relative_change_is_over_the_fingerprints_norm_or_the_bases() -> None:
    adapter = samples.adapter()
    base = {"layer.1.query": BaseWeight(norm=10.0, dtype="F16", found="there")}

    found = {one.target.name: one for one in measure(adapter, base, quiet)}

    first, second = found["layer.0.query"], found["layer.1.query"]
    prints = adapter.entry_set(first.target).fingerprints
    assert prints is not None
    assert first.relative == pytest.approx(first.norm / prints.norm[0])
    assert second.relative == pytest.approx(second.norm / 10)
    assert second.base.found == "there"


@pytest.mark.parametrize("weight", [BaseWeight(), BaseWeight(norm=0.0)])
def test_beside_nothing_there_is_no_relative_change(weight: BaseWeight) -> None:
    (one,) = measure(made(["a"]), {"a": weight}, quiet)

    assert one.relative is None


class TestOrder:
    """Those that change most come first, by the number that is shown."""

    def order(self, *norms: float | None) -> list[str]:
        """Returns names of targets "a" to "c", which change ever more, by their weights' norms."""
        names = "abc"
        base = {name: BaseWeight(norm) for name, norm in zip(names, norms, strict=True)}
        return [one.target.name for one in by_change(measure(made(names), base, quiet))]

    def test_it_is_relative_where_every_norm_is_known(self) -> None:
        assert self.order(1.0, 100.0, 10.0) == ["a", "c", "b"]

    def test_it_is_absolute_where_a_norm_is_not_known(self) -> None:
        assert self.order(1.0, 100.0, None) == ["c", "b", "a"]

    def test_a_weight_of_zero_changes_most_and_the_others_relatively(self) -> None:
        assert self.order(1.0, 0.0, 100.0) == ["b", "a", "c"]

    def test_beside_weights_of_zero_alone_it_is_absolute(self) -> None:
        assert self.order(0.0, 0.0, 0.0) == ["c", "b", "a"]


def test_targets_of_their_own_alpha() -> None:
    adapter = made(["a", "b"])
    first, second = adapter.targets
    other = replaced(adapter, targets=(first, replaced(second, alpha=-60.0)))

    one, two = measure(other, {}, quiet)

    assert (one.alpha, two.alpha) == (30.0, -60.0)
    assert two.norm == pytest.approx(2 * measure(adapter, {}, quiet)[1].norm)
    assert two.spectral is not None
    assert two.spectral > 0


def test_singular_values_are_computed_of_those_that_change_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measuring, "DETAILED", 3)
    told: list[str] = []

    found = measure(layered(), {}, told.append)

    detailed = [one.target.name for one in found if one.singular is not None]
    assert detailed == [one.target.name for one in found if one in by_change(found)[:3]]
    assert told == [one.target.name for one in found]


def test_a_change_beyond_float64_is_a_problem_and_no_error() -> None:
    adapter = made(["a"], alpha=1e308)
    loud = samples.changed(adapter.entry_sets[0], coefficients=np.full((1, 40), 3e38, np.float32))

    (one,) = measure(samples.changed(adapter, entry_sets=(loud,)), {}, quiet)

    (finding,) = one.findings()
    assert finding.kind == "not-finite"


def test_a_change_of_nothing_is_a_warning() -> None:
    (one,) = measure(made(["a"], alpha=0.0), {}, quiet)

    (finding,) = one.findings()
    assert one.singular is None
    assert (finding.kind, finding.severity) == ("too-small", "warning")
    assert "changes nothing" in finding.seen
