"""A training run is told what fails in it, in figures, and what to try."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourier_format import Adapter, EntrySet, Target, delta_weight, dtypes
from fourier_format.adapter import Array
from fourier_format.diagnostics import (
    KINDS,
    SEVERITIES,
    Finding,
    Observation,
    WatchedTarget,
    advise,
    delta_norm,
    diagnose,
    furthest_change,
    likely_change,
    relative_change,
    remember,
    run_findings,
    target_findings,
    thresholds,
)
from fourier_format.diagnostics.arithmetic import EPSILONS
from fourier_format.sampling import uniform
from tests.tolerances import DELTA_F32

TARGET = WatchedTarget(
    name="encoder.layer.0.attention.self.query",
    shape=(384, 384),
    count=1000,
    alpha=150.0,
    weight_norm=29.2,
)
"""The middle one of MiniLM's, on which the thresholds were measured."""

STEPS = (1, 2, 3, 5, 10, 20, 30, 50, 75, 100, 150, 200)
WELL = (0.019, 0.031, 0.041, 0.055, 0.078, 0.10, 0.11, 0.15, 0.18, 0.23, 0.32, 0.39)
"""Measured relative changes of a run that learnt well, at alpha = 150 and a rate of 0.06."""
LARGEST = (0.031, 0.048, 0.062, 0.082, 0.12, 0.16, 0.19, 0.24, 0.32, 0.40, 0.59, 0.70)
"""The same, of the weight that changed most."""
LORA_LIKE = (3.2e-5, 5.2e-5, 6.9e-5, 9.5e-5, 1.4e-4, 1.7e-4, 2e-4, 2.5e-4, 3.2e-4, 3.9e-4)
"""The same at a rate of 1e-4."""
TOO_MUCH = (0.19, 0.30, 0.35, 0.48, 0.69, 0.94, 1.1, 1.3, 1.5)
"""The same at ten times the scale, or ten times the rate: the loss did not fall."""


def observed(
    changes: Sequence[float],
    steps: Sequence[int] = STEPS,
    rate: float | None = 0.06,
    gradient: float | None = 1e-3,
    losses: Sequence[float | None] = (),
) -> tuple[Observation, ...]:
    return tuple(
        Observation(
            step=step,
            coefficient_norm=change / relative_change(TARGET, 1.0),
            gradient_norm=gradient,
            learning_rate=rate,
            loss=losses[i] if losses else None,
        )
        for i, (step, change) in enumerate(zip(steps, changes, strict=False))
    )


def walk(steps: Sequence[int], scale: float = 0.02) -> list[float]:
    return [scale * step**0.5 for step in steps]


def only(findings: Sequence[Finding]) -> Finding:
    (finding,) = findings
    return finding


def kinds(findings: Sequence[Finding]) -> list[str]:
    return [finding.kind for finding in findings]


class TestArithmetic:
    @pytest.mark.parametrize("shape", [(96, 64), (50, 75), (33, 128)])
    @pytest.mark.parametrize("alpha", [150.0, -3.0])
    def test_the_norm_is_that_of_the_delta_weight(
        self, shape: tuple[int, int], alpha: float
    ) -> None:
        rng = np.random.default_rng(3)
        half = np.argwhere(np.ones(shape))[1 : shape[0] * shape[1] // 2]
        half = half[(half[:, 0] > 0) & (half[:, 0] < shape[0] / 2)]  # without mirrors
        entries = rng.permutation(half)[:200]
        norm, coefficients = self.norm_of(entries, shape, alpha)
        expected = delta_norm(float(np.linalg.norm(coefficients)), alpha, shape)
        assert norm == pytest.approx(expected, rel=4 * DELTA_F32)

    def test_mirrored_entries_make_it_at_most_sqrt_2_times_as_large(self) -> None:
        shape = (8, 6)
        entries = uniform.draw(shape, 48, 1)
        norm, coefficients = self.norm_of(np.stack([entries // 6, entries % 6], 1), shape, 1.0)
        formula = delta_norm(float(np.linalg.norm(coefficients)), 1.0, shape)
        assert 0 < norm <= 2**0.5 * formula

    @staticmethod
    def norm_of(entries: Array, shape: tuple[int, int], alpha: float) -> tuple[float, Array]:
        coefficients = np.random.default_rng(4).standard_normal((1, len(entries)))
        of_all = EntrySet(
            id="a",
            shape=shape,
            entries=entries.astype(np.int32),
            coefficients=coefficients.astype(np.float32),
        )
        target = Target(name="a", kind="linear", shape=shape, entries="a", row=0)
        whole = Adapter(alpha=alpha, entry_sets=(of_all,), targets=(target,))
        return float(np.linalg.norm(delta_weight(whole, "a", np.float64))), coefficients

    @pytest.mark.parametrize("steps", [10, 100, 1000])
    def test_adam_goes_to_the_bound_on_constant_gradients_and_walks_on_random_ones(
        self, steps: int
    ) -> None:
        rng = np.random.default_rng(5)
        target = replace(TARGET, gain=2.0)
        constant = 2.0 * adam(lambda: np.ones(1000), 0.01, steps)
        random = 2.0 * adam(lambda: rng.standard_normal(1000), 0.01, steps)
        reached = [relative_change(target, float(np.linalg.norm(c))) for c in (constant, random)]
        assert reached[0] == pytest.approx(furthest_change(target, 0.01, steps), rel=1e-4)
        assert 0.5 < reached[1] / likely_change(target, 0.01, steps) < 1.5

    def test_the_likely_change_is_that_of_the_measured_runs(self) -> None:
        for rate, changes in ((0.06, WELL), (1e-4, LORA_LIKE), (0.6, TOO_MUCH[:6])):
            for step, change in zip(STEPS, changes, strict=False):
                assert change == pytest.approx(likely_change(TARGET, rate, step), rel=0.4)

    @pytest.mark.parametrize("dtype", ["F16", "BF16"])
    def test_half_of_the_values_stay_as_they_were_at_the_share_that_is_lost(
        self, dtype: str
    ) -> None:
        rng = np.random.default_rng(6)
        weight = dtypes.round_once(rng.normal(0, 0.05, (512, 512)), dtype).astype(np.float64)
        delta = rng.normal(0, 0.05, weight.shape) * thresholds.LOST_SHARE * EPSILONS[dtype]
        merged = dtypes.round_once(weight + delta, dtype).astype(np.float64)
        assert np.mean(merged == weight) == pytest.approx(0.5, abs=0.02)
        error = np.linalg.norm(merged - weight - delta) / np.linalg.norm(delta)
        assert error == pytest.approx(0.5, abs=0.05)

    @pytest.mark.parametrize("dtype", sorted(EPSILONS))
    def test_epsilons_are_one_unit_in_the_last_place_of_one(self, dtype: str) -> None:
        one, more = (dtypes.round_once(np.array([1 + k * EPSILONS[dtype]]), dtype) for k in (0, 1))
        less = dtypes.round_once(np.array([1 + EPSILONS[dtype] / 2]), dtype)
        assert more > one
        assert less == one


def adam(gradient: Callable[[], Array], rate: float, steps: int) -> Array:
    """Returns the coefficients after Adam (Kingma and Ba, algorithm 1) from a zero start."""
    c = m = v = np.zeros(1000)
    for t in range(1, steps + 1):
        g = gradient()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        c = c - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return c


class TestHealth:
    @pytest.mark.parametrize("changes", [WELL, LARGEST])
    @pytest.mark.parametrize("until", range(1, len(STEPS) + 1))
    def test_a_run_that_learnt_well_is_healthy_at_every_step(
        self, changes: Sequence[float], until: int
    ) -> None:
        finding = only(target_findings(TARGET, observed(changes[:until]), 920))
        assert (finding.kind, finding.severity) == ("healthy", "fine")

    def test_the_sentence_names_target_and_change(self) -> None:
        assert str(only(target_findings(TARGET, observed(WELL)))) == (
            "encoder.layer.0.attention.self.query:"
            " the delta weight is 0.39 of the weight. Nothing to do."
        )

    def test_a_history_without_observations_has_no_findings(self) -> None:
        assert target_findings(TARGET, ()) == ()
        assert diagnose([(TARGET, ())]) == ()
        assert advise(()) == ()

    @pytest.mark.parametrize("slope", [1e-6, 0.0])
    def test_a_warm_up_that_starts_low_is_no_low_rate(self, slope: float) -> None:
        history = [replace(seen, learning_rate=slope * i) for i, seen in enumerate(observed(WELL))]
        assert kinds(target_findings(TARGET, history, 10_000)) == ["healthy"]
        assert kinds(target_findings(TARGET, history, 200)) == ["low-learning-rate"]

    def test_one_gradient_that_overflows_is_how_loss_scaling_finds_its_scale(self) -> None:
        history = observed(WELL)
        history = (*history[:-1], replace(history[-1], gradient_norm=np.inf))
        assert kinds(target_findings(TARGET, history)) == ["healthy"]

    def test_one_gradient_of_zero_is_that_of_a_head_that_starts_at_zero(self) -> None:
        first, *others = observed(WELL)
        history = (replace(first, gradient_norm=0.0), *others)
        assert kinds(target_findings(TARGET, history)) == ["healthy"]

    def test_an_unknown_base_is_judged_by_what_else_is_known(self) -> None:
        unknown = replace(TARGET, weight_norm=None)
        assert only(target_findings(unknown, observed(WELL))).seen == (
            "nothing is out of the ordinary"
        )
        low = only(target_findings(unknown, observed(LORA_LIKE, rate=1e-4)))
        assert low.kind == "low-learning-rate"
        assert "0.01 to 0.3" in low.advice

    @pytest.mark.parametrize("change", [None, np.inf])
    def test_beside_a_weight_of_zero_no_change_is_too_large(self, change: float | None) -> None:
        zero = replace(TARGET, weight_norm=0.0)
        history = [replace(seen, relative_change=change) for seen in observed(TOO_MUCH)]
        finding = only(target_findings(zero, history))
        assert (finding.kind, finding.severity) == ("healthy", "fine")
        assert finding.seen == "the weight is zero, so the delta weight is all there is"


class TestTooMuch:
    @pytest.mark.parametrize("until", range(4, len(TOO_MUCH) + 1))
    def test_ten_times_the_scale_is_too_large(self, until: int) -> None:
        loud = replace(TARGET, alpha=1500.0, weight_norm=292.0)
        finding = only(target_findings(loud, observed(TOO_MUCH[:until])))
        assert (finding.kind, finding.severity) == ("alpha-too-large", "warning")
        assert finding.alpha is not None
        assert 100 <= finding.alpha <= 600
        assert f"alpha {finding.alpha:.0f} instead of 1500" in finding.advice

    def test_a_rate_above_the_papers_is_taken_back_before_alpha(self) -> None:
        finding = only(target_findings(TARGET, observed(TOO_MUCH[:5], rate=0.6)))
        assert finding.seen == "the delta weight is 0.69 of the weight after only 10 steps"
        assert finding.advice == "Try a learning rate of 0.11 instead of 0.6."
        assert (finding.learning_rate, finding.alpha) == (0.11, None)

    def test_a_random_start_that_drowns_the_base_is_found_before_the_first_step(self) -> None:
        finding = only(target_findings(TARGET, observed((0.45,), (0,))))
        assert finding.kind == "start-too-large"
        assert finding.advice == (
            "If the coefficients were drawn at random, start them at zero, or try alpha 42."
        )

    def test_a_delta_weight_larger_than_the_weight_is_noted_late_in_a_run(self) -> None:
        note = only(target_findings(TARGET, observed((0.9, 1.4), (400, 900))))
        assert (note.kind, note.severity) == ("outgrown", "note")
        assert "held-out scores still rise. If not: try alpha 54" in note.advice
        warning = only(target_findings(TARGET, observed((0.9, 4.0), (400, 900))))
        assert (warning.kind, warning.severity) == ("outgrown", "warning")

    def test_coefficients_that_are_not_finite_are_a_problem(self) -> None:
        finding = only(target_findings(TARGET, observed((0.1, np.nan), (10, 20))))
        assert (finding.kind, finding.severity) == ("not-finite", "problem")
        assert finding.seen == "the coefficients are not finite at step 20"
        assert finding.learning_rate == pytest.approx(0.02)

    def test_gradients_that_are_not_finite_twice_are_a_problem(self) -> None:
        finding = only(target_findings(TARGET, observed(WELL, gradient=np.nan)))
        assert finding.seen == "the gradients are not finite at step 200"

    def test_a_gradient_that_grows_by_orders_is_a_problem(self) -> None:
        history = list(observed(WELL))
        history[-3:] = [replace(seen, gradient_norm=0.5) for seen in history[-3:]]
        finding = only(target_findings(TARGET, history))
        assert finding.kind == "gradient-grows"
        assert "500 times" in finding.seen


class TestTooLittle:
    def test_a_rate_of_lora_is_too_low(self) -> None:
        finding = only(target_findings(TARGET, observed(LORA_LIKE, rate=1e-4), 920))
        assert finding.seen == (
            "learning rate times gain is 0.0001, as is usual for LoRA; in 920 steps the delta"
            " weight would reach about 0.0011 of the weight"
        )
        assert finding.advice == (
            "Try a learning rate of 0.0092 instead of 0.0001 (the paper's are 0.01 to 0.3, at gain"
            " 1). Or keep the rate and set gain to 92."
        )
        assert finding.learning_rate is not None
        assert likely_change(TARGET, finding.learning_rate, 920) == pytest.approx(
            thresholds.AIM, rel=0.05
        )

    def test_the_published_failure_is_found_and_the_rate_of_the_authors_advised(self) -> None:
        llama = WatchedTarget(
            name="q_proj", shape=(3072, 3072), count=1000, alpha=300.0, weight_norm=92.0
        )
        history = [
            Observation(step=s, coefficient_norm=s**0.5 * 1e-4, learning_rate=1e-4) for s in (1, 9)
        ]
        finding = only(target_findings(llama, history, 5000))
        assert finding.kind == "low-learning-rate"
        assert finding.learning_rate == pytest.approx(0.05, rel=0.3)

    def test_a_gain_makes_a_low_rate_right(self) -> None:
        gained = replace(TARGET, gain=600.0)
        assert kinds(target_findings(gained, observed(WELL, rate=1e-4))) == ["healthy"]

    def test_a_low_rate_is_no_matter_where_alpha_makes_up_for_it(self) -> None:
        loud = replace(TARGET, alpha=15_000.0)
        history = [
            replace(seen, relative_change=change)
            for seen, change in zip(observed(WELL, rate=6e-4), WELL, strict=True)
        ]
        assert kinds(target_findings(loud, history)) == ["healthy"]

    def test_a_change_that_stays_small_is_told_with_the_rate_that_would_do(self) -> None:
        history = observed(walk((150, 200), 1e-6), (150, 200), rate=0.01)
        finding = only(target_findings(TARGET, history))
        assert finding.seen == (
            "the delta weight is 1.4e-5 of the weight after 200 steps, and about 3.2e-5 after"
            " 1,000 at this pace"
        )
        assert (finding.learning_rate, finding.alpha) == (0.3, 16000)

    def test_a_rate_that_is_the_papers_highest_leaves_alpha_to_be_raised(self) -> None:
        history = observed(walk((500, 1000), 1e-6), (500, 1000), rate=0.3)
        finding = only(target_findings(TARGET, history))
        assert finding.advice == "Try alpha 470000 instead of 150."
        assert (finding.learning_rate, finding.alpha) == (None, 470000)

    def test_smallness_is_nothing_early(self) -> None:
        history = observed(walk((5, 9), 1e-6), (5, 9), rate=0.01)
        assert kinds(target_findings(TARGET, history)) == ["healthy"]

    def test_a_target_outside_the_graph_is_a_problem(self) -> None:
        finding = only(target_findings(TARGET, observed((0.0, 0.0, 0.0), gradient=0.0)))
        assert (finding.kind, finding.severity) == ("no-gradient", "problem")
        assert finding.seen == "the gradient was exactly 0 in each of 3 observations"

    @pytest.mark.parametrize(("rate", "advice"), [(0.06, "optimiser"), (0.0, "rate is 0")])
    def test_coefficients_that_no_one_moves_are_a_problem(self, rate: float, advice: str) -> None:
        history = observed((0.0,) * 4, (50, 100, 150, 200), rate=rate)
        finding = only(target_findings(TARGET, history))
        assert (finding.kind, finding.severity) == ("frozen", "problem")
        assert advice in finding.advice

    def test_a_gradient_below_adams_epsilon_is_told_with_an_epsilon_that_would_do(self) -> None:
        history = observed(WELL, gradient=3e-9 * 1000**0.5)
        finding = only(target_findings(TARGET, history))
        assert finding.kind == "vanishing-gradient"
        assert "about 3e-9" in finding.seen
        assert "eps=1e-11" in finding.advice

    def test_a_gradient_that_vanishes_with_the_loss_is_none_to_look_for(self) -> None:
        losses = [0.7 * 0.5**i for i in range(len(WELL))]
        history = observed(WELL, gradient=1e-8, losses=losses)
        assert kinds(target_findings(TARGET, history)) == ["healthy"]

    @pytest.mark.parametrize(("dtype", "kind"), [("BF16", "lost-in-merge"), ("F16", "healthy")])
    def test_a_change_that_rounding_takes_is_told_for_the_bases_dtype(
        self, dtype: str, kind: str
    ) -> None:
        history = observed((2e-3, 2.2e-3), (900, 1000), rate=0.01)
        finding = only(target_findings(replace(TARGET, dtype=dtype), history))
        assert finding.kind == kind
        assert ("merging in BF16" in finding.seen) == (dtype == "BF16")


class TestPlateau:
    STEPS = tuple(range(10, 1001, 10))

    def losses(self, slope: float) -> list[float]:
        noise = np.random.default_rng(7).normal(0, 0.02, len(self.STEPS))
        return [0.5 - slope * i + float(e) for i, e in enumerate(noise)]

    def test_loss_and_coefficients_that_stand_still_are_noted(self) -> None:
        history = observed([0.2] * 100, self.STEPS, losses=self.losses(0.0))
        moved = [replace(h, coefficient_norm=h.coefficient_norm + 1e-4 * h.step) for h in history]
        finding = only(target_findings(TARGET, moved, 2000))
        assert (finding.kind, finding.severity) == ("plateau", "note")
        assert finding.seen == ("loss (about 0.5) and coefficients have not moved since step 750")
        assert "n = 1,000 to 2,000" in finding.advice
        assert finding.learning_rate == pytest.approx(0.18)

    def test_a_loss_that_falls_is_no_plateau(self) -> None:
        history = observed([0.2] * 98 + [0.201, 0.202], self.STEPS, losses=self.losses(0.003))
        assert kinds(target_findings(TARGET, history)) == ["healthy"]

    def test_coefficients_that_move_are_no_plateau(self) -> None:
        history = observed(walk(self.STEPS), self.STEPS, losses=self.losses(0.0))
        assert kinds(target_findings(TARGET, history)) == ["healthy"]

    def test_the_end_of_a_schedule_is_no_plateau(self) -> None:
        history = [
            replace(seen, learning_rate=0.06 * (1 - seen.step / 1000))
            for seen in observed([0.2] * 100, self.STEPS, losses=self.losses(0.0))
        ]
        assert kinds(target_findings(TARGET, history)) == ["healthy"]


class TestRun:
    def test_a_loss_that_is_not_finite_is_a_problem_of_the_run(self) -> None:
        losses = [0.7] * 11 + [np.inf]
        findings = diagnose([(TARGET, observed(WELL, losses=losses))] * 2)
        assert str(only(findings)) == (
            "the run: the loss is inf at step 200. Go back to a checkpoint from before it and try"
            " a learning rate of 0.02, a third."
        )

    def test_a_loss_that_has_grown_is_a_problem_of_the_run(self) -> None:
        losses = [2.0] * 9 + [10.4] * 3
        finding = only(run_findings(observed(WELL, losses=losses)))
        assert (finding.kind, finding.target) == ("loss-grows", None)
        assert finding.seen == "the loss is 10 at step 200, and was 2 at the start"

    @pytest.mark.parametrize("last", [5.9, 0.01, -3.0])
    def test_any_other_loss_is_none(self, last: float) -> None:
        assert run_findings(observed(WELL, losses=[2.0] * 9 + [last] * 3)) == ()

    def test_many_targets_make_one_line(self) -> None:
        low, well = observed(LORA_LIKE, rate=1e-4), observed(WELL)
        watched = [
            (replace(TARGET, name=f"layer.{i}", weight_norm=20.0 + i), low) for i in range(11)
        ]
        lines = advise(diagnose([*watched, (replace(TARGET, name="layer.11"), well)], 920))
        assert [line.kind for line in lines] == ["low-learning-rate", "healthy"]
        assert len(lines[0].targets) == 11
        assert str(lines[0]).startswith(
            "11 of 12 targets (layer.0, layer.1 and 9 more): learning rate times gain is 0.0001,"
        )
        assert lines[0].learning_rate == pytest.approx(0.0077, rel=0.1)
        assert lines[0].seen.endswith("would reach about 0.0011 to 0.0016 of the weight")
        assert str(lines[1]).startswith("1 of 12 targets (layer.11): the delta weight is 0.39")

    def test_a_line_gives_the_range_of_its_figures_and_settings_for_the_largest(self) -> None:
        changes = (0.5, 0.9, 0.7)
        watched = [
            (replace(TARGET, name=f"{i}"), observed((change,), (5,)))
            for i, change in enumerate(changes)
        ]
        line = advise(diagnose(watched))[0]
        assert str(line) == (
            "all 3 targets: the delta weight is 0.5 to 0.9 of the weight after only 5 steps."
            " Try alpha 21 instead of 150."
        )

    def test_the_worst_comes_first(self) -> None:
        histories = {
            "a": observed(WELL),
            "b": observed((2.0,), (900,)),
            "c": observed(LORA_LIKE, rate=1e-4),
            "d": observed((np.nan,)),
        }
        lines = advise(diagnose([(replace(TARGET, name=n), h) for n, h in histories.items()]))
        assert [line.severity for line in lines] == ["problem", "warning", "note", "fine"]

    def test_a_name_cannot_forge_lines(self) -> None:
        hostile = replace(TARGET, name="a\x1b[2J\nb{}{0}\u202e" * 20)
        findings = diagnose([(hostile, observed(LORA_LIKE, rate=1e-4)), (TARGET, observed(WELL))])
        for line in (*map(str, findings), *map(str, advise(findings))):
            assert line.isprintable()
            assert len(line) < 500


class TestHistory:
    @pytest.mark.parametrize("total", [100, 257, 10_000])
    def test_it_is_bounded_and_keeps_first_latest_and_an_even_rest(self, total: int) -> None:
        history: tuple[Observation, ...] = ()
        for step in range(total):
            history = remember(history, Observation(step=step, coefficient_norm=1.0), 64)
        steps = [seen.step for seen in history]
        assert len(steps) == min(total, 64)
        assert steps == sorted(set(steps))
        assert steps[0] == 0
        assert steps[-10:] == list(range(total - 10, total))
        assert sum(step > 0.75 * total for step in steps) >= thresholds.PLATEAU_POINTS
        assert max(np.diff(steps)) <= max(1, 4 * total / 64)

    @given(limit=st.integers(-3, 20), total=st.integers(1, 40))
    def test_any_limit_is_kept(self, limit: int, total: int) -> None:
        history: tuple[Observation, ...] = ()
        for step in range(total):
            history = remember(history, Observation(step=step, coefficient_norm=1.0), limit)
        assert len(history) == min(total, max(limit, 2))
        assert (history[0].step, history[-1].step) == (0, total - 1)


numbers = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 1e-4, 1e308, -1e308, 5e-324, np.nan])
maybe = st.none() | numbers
sizes = st.integers() | st.sampled_from([0, -1, 1, 384, 2**31 - 1])
observations = st.builds(
    Observation,
    step=sizes | st.integers(0, 1000),
    coefficient_norm=numbers,
    relative_change=maybe,
    gradient_norm=maybe,
    learning_rate=maybe,
    loss=maybe,
)
targets = st.builds(
    WatchedTarget,
    name=st.text(max_size=5),
    shape=st.tuples(sizes, sizes),
    count=sizes,
    alpha=numbers,
    weight_norm=maybe,
    gain=numbers,
    dtype=st.none() | st.sampled_from(["F32", "BF16", "F16", "U8", ""]),
)
histories = st.lists(observations, max_size=24)


@given(st.lists(st.tuples(targets, histories), max_size=3), st.none() | sizes)
def test_any_numbers_give_findings_and_never_an_exception_or_a_warning(
    watched: list[tuple[WatchedTarget, list[Observation]]], planned: int | None
) -> None:
    findings = diagnose(watched, planned)
    for target, history in watched:
        found = target_findings(target, history, planned)
        assert bool(found) == bool(history)
    for finding in findings:
        assert finding.kind in KINDS
        assert finding.severity in SEVERITIES
        for setting in (finding.learning_rate, finding.alpha):
            assert setting is None or (np.isfinite(setting) and setting != 0)
        assert str(finding).isprintable()
    lines = advise(findings)
    alike = {(finding.kind, finding.phrase, finding.target is None) for finding in findings}
    assert len(lines) == len(alike)
    assert [SEVERITIES.index(line.severity) for line in lines] == sorted(
        SEVERITIES.index(line.severity) for line in lines
    )
    assert all(str(line).isprintable() for line in lines)


@given(targets, numbers, sizes)
def test_the_formulas_never_raise(target: WatchedTarget, number: float, steps: int) -> None:
    for value in (
        delta_norm(number, target.alpha, target.shape),
        relative_change(target, number),
        furthest_change(target, number, steps),
        likely_change(target, number, steps),
    ):
        assert isinstance(value, float)
