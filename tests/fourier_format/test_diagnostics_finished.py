"""A finished adapter is told what is seen without the history of its training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourier_format.diagnostics import KINDS, WatchedTarget, advise, finished_findings, thresholds

TARGET = WatchedTarget(
    name="encoder.layer.0.attention.self.query",
    shape=(384, 384),
    count=1000,
    alpha=150.0,
    weight_norm=10.0,
    dtype="F32",
)


@pytest.mark.parametrize(
    ("norm", "kind", "severity"),
    [
        (0.0, "too-small", "warning"),
        (0.5 * 10 * thresholds.TOO_SMALL, "too-small", "warning"),
        (1.0, "healthy", "fine"),
        (15.0, "outgrown", "note"),
        (10.1 * thresholds.OVERWHELMED, "outgrown", "warning"),
        (float("inf"), "not-finite", "problem"),
        (float("nan"), "not-finite", "problem"),
    ],
)
def test_the_size_of_the_change_decides(norm: float, kind: str, severity: str) -> None:
    (found,) = finished_findings(TARGET, norm)

    assert (found.kind, found.severity, found.target) == (kind, severity, TARGET.name)


def test_a_change_below_the_rounding_of_the_base_is_noted() -> None:
    half = replace(TARGET, dtype="BF16")

    (found,) = finished_findings(half, 10 * 0.002)

    assert found.kind == "lost-in-merge"
    assert "Merge into float32" in found.advice
    assert finished_findings(TARGET, 10 * 0.002)[0].kind == "healthy"


def test_alpha_is_advised_that_halves_what_is_too_large() -> None:
    (found,) = finished_findings(TARGET, 100.0)

    assert found.alpha == 7.5
    assert found.seen == "the delta weight is 10 times as large as the weight"


@pytest.mark.parametrize(("norm", "kind"), [(0.0, "too-small"), (1e9, "healthy")])
def test_without_the_weights_norm_only_nothing_is_too_small(norm: float, kind: str) -> None:
    (found,) = finished_findings(replace(TARGET, weight_norm=None), norm)

    assert found.kind == kind
    assert "steps" not in str(found)


def test_beside_a_weight_of_zero_no_change_is_too_large() -> None:
    (found,) = finished_findings(replace(TARGET, weight_norm=0.0, dtype="BF16"), 8.0)

    assert (found.kind, found.severity) == ("healthy", "fine")
    assert found.seen == "the weight is zero, so the delta weight is all there is"


def test_targets_of_which_the_same_is_said_become_a_line() -> None:
    named = [replace(TARGET, name=f"t{i}") for i in range(5)]

    lines = advise(f for i, one in enumerate(named) for f in finished_findings(one, 8.0 * i))

    assert [line.kind for line in lines] == ["outgrown", "too-small", "healthy"]
    assert lines[0].targets == ("t2", "t3", "t4")


def test_a_target_of_unknown_norm_is_not_said_to_change_by_a_share() -> None:
    named = [replace(TARGET, name=f"t{i}") for i in range(3)]
    named[2] = replace(named[2], weight_norm=None)

    lines = advise(f for i, one in enumerate(named) for f in finished_findings(one, 1.0 + i))

    assert [str(line) for line in lines] == [
        "1 of 3 targets (t2): nothing is out of the ordinary. Nothing to do.",
        "2 of 3 targets (t0, t1): the delta weight is 0.1 to 0.2 of the weight. Nothing to do.",
    ]


def test_a_target_that_changes_a_little_is_not_said_to_change_nothing() -> None:
    norms = (0.0, 0.0, 0.8 * 10 * thresholds.TOO_SMALL)
    named = [replace(TARGET, name=f"t{i}") for i in range(3)]

    lines = advise(
        f for one, norm in zip(named, norms, strict=True) for f in finished_findings(one, norm)
    )

    assert [(line.targets, line.seen) for line in lines] == [
        (("t2",), "the delta weight is 0.0008 of the weight, which will not show"),
        (("t0", "t1"), "the delta weight is zero and changes nothing"),
    ]


@given(
    norm=st.floats(0) | st.just(float("nan")),
    weight=st.none() | st.floats(0, 1e300),
    alpha=st.floats(-1e300, 1e300),
)
def test_nothing_raises_and_something_is_always_said(
    norm: float, weight: float | None, alpha: float
) -> None:
    found = finished_findings(replace(TARGET, weight_norm=weight, alpha=alpha), norm)

    assert found
    assert {one.kind for one in found} <= set(KINDS)
    assert np.isfinite(norm) or found[0].kind == "not-finite"
    for one in found:
        assert "{" not in str(one)
