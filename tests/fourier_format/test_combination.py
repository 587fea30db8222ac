"""A combination is the weighted sum of delta weights, to one rounding of its coefficients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fourier_format
from fourier_format import Adapter, EntrySet, Sampling, Target, combine, limits, sampling
from fourier_format.adapter import Array
from fourier_format.errors import (
    BaseMismatchError,
    FourierFormatError,
    UnsupportedError,
    UsageError,
)
from fourier_format.fingerprint import fingerprint, stack, without_fingerprints
from fourier_format.validation import validate
from tests.fourier_format import samples
from tests.fourier_format.equality import assert_same
from tests.strategies import DRAW, entries
from tests.tolerances import DELTA_F32

SHAPES = {"q": (6, 8), "k": (6, 8), "v": (5, 7), "up": (1, 9)}
"""The targets that drawn adapters have some of, each of one shape."""

UNIFORM = samples.UNIFORM
FEW = st.sampled_from([1.0, 0.5, -2.0, 0.0, 3.25])


@st.composite
def some_adapters(draw: DRAW) -> Adapter:
    """Draws an adapter of a few of `SHAPES`, each with a set of its own, in any dtype."""
    names = draw(st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, unique=True))
    sets = []
    for name in names:
        positions = draw(entries(SHAPES[name]))
        dtype = draw(st.sampled_from([np.float32, np.float16, ml_dtypes.bfloat16]))
        values = np.random.default_rng(draw(st.integers(0, 99))).standard_normal(len(positions))
        sets.append(
            EntrySet(
                id=name,
                shape=SHAPES[name],
                entries=positions,
                coefficients=values.astype(dtype)[None],
            )
        )
    alphas = st.sampled_from([150.0, 1.5, -4.0, 0.0])
    return Adapter(
        alpha=draw(alphas),
        entry_sets=tuple(sets),
        targets=tuple(
            Target(
                name=s.id,
                kind="linear",
                shape=s.shape,
                entries=s.id,
                row=0,
                alpha=draw(st.none() | alphas),
            )
            for s in sets
        ),
    )


weighted = st.lists(st.tuples(some_adapters(), FEW), min_size=1, max_size=4)


def exact_delta(adapter: Adapter, name: str) -> Array:
    """Returns alpha * Re(IDFT2(S)) by NumPy in complex128; zero for an absent target."""
    spectrum = np.zeros(SHAPES[name], np.complex128)
    if name not in {t.name for t in adapter.targets}:
        return spectrum.real
    target = adapter.target(name)
    u, v = adapter.entry_set(target).entries.T
    spectrum[u, v] = adapter.coefficients(target).astype(np.float64)
    return np.asarray(np.fft.ifft2(spectrum).real * adapter.alpha_of(target))


def one(**fields: Any) -> Adapter:
    """Returns an adapter of one 6 x 8 target "q" with four drawn entries and fingerprints."""
    entry_set = samples.entry_set((6, 8), 4, 1)
    base = np.random.default_rng(8).standard_normal((6, 8)).astype(np.float32)
    settings = {"fingerprints": stack([fingerprint(base, "q")])}
    target = Target(name="q", kind="linear", shape=(6, 8), entries="6x8", row=0)
    whole: dict[str, Any] = {"alpha": 2.0, "seed": 7}
    for key, value in fields.items():
        if key in {"entries", "coefficients", "fingerprints", "sampling"}:
            settings[key] = value
        elif key in {"kind", "shape", "name"}:
            target = samples.changed(target, **{key: value})
        else:
            whole[key] = value
    return Adapter(entry_sets=(samples.changed(entry_set, **settings),), targets=(target,), **whole)


def refused(
    kind: type[FourierFormatError], adapters: Sequence[Adapter], scales: Sequence[float] = (1, 1)
) -> FourierFormatError:
    with pytest.raises(kind) as caught:
        combine(adapters, scales)
    return caught.value


@given(weighted)
def test_its_delta_weights_are_the_weighted_sums(drawn: list[tuple[Adapter, float]]) -> None:
    adapters, scales = zip(*drawn, strict=True)

    combined = combine(adapters, scales)

    for target in combined.targets:
        deltas = [s * exact_delta(a, target.name) for a, s in drawn]
        largest = max(np.abs(delta).max() for delta in deltas)
        error = np.abs(exact_delta(combined, target.name) - sum(deltas)).max()
        assert error <= DELTA_F32 * largest
    assert {t.name for t in combined.targets} == {t.name for a in adapters for t in a.targets}


@given(weighted, st.randoms())
def test_the_order_of_the_adapters_does_not_matter(
    drawn: list[tuple[Adapter, float]], random: Any
) -> None:
    shuffled = list(drawn)
    random.shuffle(shuffled)

    straight, other = (combine(*zip(*some, strict=True)) for some in (drawn, shuffled))

    for target in straight.targets:
        a, b = exact_delta(straight, target.name), exact_delta(other, target.name)
        largest = max(np.abs(s * exact_delta(x, target.name)).max() for x, s in drawn)
        assert np.abs(a - b).max() <= 2 * DELTA_F32 * largest


@given(some_adapters())
def test_one_adapter_at_scale_one_keeps_every_bit_of_its_delta_weights(adapter: Adapter) -> None:
    combined = combine([adapter], [1.0])

    for target in adapter.targets:
        got = fourier_format.delta_weight(combined, target.name)
        expected = exact_delta(adapter, target.name)
        assert np.array_equal(got, fourier_format.delta_weight(adapter, target))
        assert np.abs(got - expected).max() <= DELTA_F32 * np.abs(expected).max()


@given(weighted)
def test_it_can_be_saved_and_validated(drawn: list[tuple[Adapter, float]]) -> None:
    combined = combine(*zip(*drawn, strict=True))

    loaded = fourier_format.from_bytes(fourier_format.to_bytes(combined))

    assert_same(loaded, combined)


def test_a_combination_of_a_full_adapter_is_valid(tmp_path: Path) -> None:
    whole = samples.adapter()

    fourier_format.save(combine([whole, whole], [0.75, 0.5]), tmp_path / "sum.fft")

    assert validate(tmp_path / "sum.fft").violations == ()


def test_targets_that_agree_share_their_entries_and_the_recipe_stays() -> None:
    whole = samples.adapter()

    combined = combine([whole, whole], [1, 1])

    assert [(s.id, len(s.coefficients)) for s in combined.entry_sets] == [
        ("48x32", 3),
        ("16x32", 2),
    ]
    for before, after in zip(whole.entry_sets, combined.entry_sets, strict=True):
        assert np.array_equal(before.entries, after.entries)
        assert after.sampling == before.sampling
        assert np.array_equal(after.coefficients, 2 * before.coefficients.astype(np.float32))
        assert_same(after.fingerprints, before.fingerprints)


def test_entries_that_differ_are_united_in_the_order_in_which_they_come() -> None:
    a = one(
        entries=np.array([[5, 7], [0, 1]], np.int32), coefficients=np.array([[1, 2]], np.float32)
    )
    b = one(
        entries=np.array([[3, 3], [5, 7]], np.int32), coefficients=np.array([[10, 20]], np.float32)
    )

    (united,) = combine([a, b], [1.0, 0.5]).entry_sets

    assert united.entries.tolist() == [[5, 7], [0, 1], [3, 3]]
    assert united.coefficients.tolist() == [[11.0, 2.0, 5.0]]
    assert united.sampling is None


def test_mirrored_entries_stay_two() -> None:
    a = one(entries=np.array([[1, 2]], np.int32), coefficients=np.array([[1]], np.float32))
    b = one(entries=np.array([[5, 6]], np.int32), coefficients=np.array([[1]], np.float32))

    assert combine([a, b], [1, 1]).entry_sets[0].entries.tolist() == [[1, 2], [5, 6]]


def test_a_longer_draw_by_the_same_recipe_keeps_the_recipe() -> None:
    """PEFT's entries are the first n of one list, so fewer of them add nothing new."""
    recipe = Sampling(method="torch-randperm", generator=sampling.torch_generator((6, 8)))
    few, many = (
        one(
            entries=sampling.draw((6, 8), n, recipe, 7),
            coefficients=np.ones((1, n), np.float32),
            sampling=recipe,
        )
        for n in (3, 9)
    )

    (united,) = combine([few, many], [1, 1]).entry_sets

    assert united.sampling == recipe
    assert united.count == 9
    assert sampling.mismatch((6, 8), united.entries, recipe, 7) is None


def test_a_recipe_keeps_the_seed_that_it_meant() -> None:
    a, b = one(seed=7), one(seed=8, name="k", entries=sampling.draw((6, 8), 4, UNIFORM, 8))

    combined = combine([a, b], [1, 1])

    assert combined.seed is None
    assert [s.sampling.seed for s in combined.entry_sets if s.sampling] == [7, 8]
    assert [s.id for s in combined.entry_sets] == ["6x8", "6x8-2"]


def test_a_target_keeps_the_alpha_of_the_first_that_has_one() -> None:
    a, b = one(alpha=0.0), one(alpha=5.0)

    combined = combine([a, b, one(alpha=10.0)], [1, 1, 1])

    (target,) = combined.targets
    assert combined.alpha_of(target) == 5.0
    assert np.array_equal(combined.coefficients(target), 3 * b.entry_sets[0].coefficients[0])


def test_alphas_of_zero_stay_zero() -> None:
    combined = combine([one(alpha=0.0)] * 2, [1, 1])

    assert not fourier_format.delta_weight(combined, "q").any()
    assert combined.alpha == 0


def test_targets_that_only_some_have_come_after_those_of_the_first() -> None:
    combined = combine([one(), one(name="k"), one()], [1, -1, 2])

    assert [t.name for t in combined.targets] == ["q", "k"]
    assert np.array_equal(
        combined.coefficients(combined.target("k")), -one().entry_sets[0].coefficients[0]
    )


def test_targets_of_one_shape_but_of_two_base_dtypes_are_two_sets() -> None:
    half = np.random.default_rng(9).standard_normal((6, 8)).astype(np.float16)
    other = one(name="k", fingerprints=stack([fingerprint(half, "k")]))

    combined = combine([one(), other], [1, 1])

    assert [s.fingerprints.dtype for s in combined.entry_sets if s.fingerprints] == ["F32", "F16"]


def test_a_fingerprint_that_only_one_knows_is_kept() -> None:
    a, b = without_fingerprints(one()), one()

    assert_same(combine([a, b], [1, 1]).entry_sets[0].fingerprints, b.entry_sets[0].fingerprints)


def other_samples(prints: Any) -> Any:
    return samples.changed(prints, samples=prints.samples + 1)


@pytest.mark.parametrize(
    "edit",
    [
        other_samples,
        lambda p: samples.changed(p, norm=p.norm * 1.001),
        lambda p: samples.changed(p, sha256=p.sha256 ^ 1),
        lambda p: samples.changed(p, dtype="BF16"),
    ],
)
def test_adapters_of_different_bases_are_refused(edit: Callable[[Any], Any]) -> None:
    prints = one().entry_sets[0].fingerprints

    error = refused(BaseMismatchError, [one(), one(fingerprints=edit(prints))])

    (violation,) = error.violations
    assert (violation.code, violation.where) == ("E-BASE-MISMATCH", "q")
    assert "trained on other weights" in violation.problem


def test_norms_may_differ_by_the_order_of_their_sums() -> None:
    prints = one().entry_sets[0].fingerprints
    assert prints is not None

    combine(
        [one(), one(fingerprints=samples.changed(prints, norm=prints.norm * (1 + 1e-13)))], [1, 1]
    )


def test_a_target_of_two_shapes_or_kinds_is_refused() -> None:
    wide = samples.entry_set((8, 6), 4, 1)
    target = Target(name="q", kind="linear", shape=(8, 6), entries=wide.id, row=0)
    turned = Adapter(alpha=2.0, seed=7, entry_sets=(wide,), targets=(target,))

    by_shape = refused(BaseMismatchError, [one(), turned])
    by_kind = refused(BaseMismatchError, [one(), one(kind="embedding")])

    assert by_shape.violations[0].got == "6 x 8 and 8 x 6"
    assert by_kind.violations[0].got == "linear and embedding"


def test_every_target_that_contradicts_is_named() -> None:
    def two(dtype: str) -> Adapter:
        whole = samples.adapter()
        prints = whole.entry_sets[0].fingerprints
        return samples.with_first_set(whole, fingerprints=samples.changed(prints, dtype=dtype))

    error = refused(BaseMismatchError, [two("F32"), two("F16")])

    assert [v.where for v in error.violations] == [f"layer.{i}.query" for i in range(3)]


def test_equal_heads_are_kept_whole_whatever_the_scale() -> None:
    head = {"head.weight": np.ones((3, 6), np.float32)}

    combined = combine([one(replacements=head), one(), one(replacements=head)], [0.25, 1, -1])

    assert list(combined.replacements) == ["head.weight"]
    assert np.array_equal(combined.replacements["head.weight"], head["head.weight"])


@pytest.mark.parametrize(
    "other",
    [np.zeros((3, 6), np.float32), np.ones((3, 6), np.float16), np.ones((6, 3), np.float32)],
)
def test_different_heads_are_refused_by_name(other: Array) -> None:
    head = np.ones((3, 6), np.float32)

    error = refused(
        UnsupportedError,
        [one(replacements={"head.weight": head}), one(replacements={"head.weight": other})],
    )

    (violation,) = error.violations
    assert (violation.code, violation.where) == ("E-REPLACEMENT-CONFLICT", "head.weight")
    assert "a sum of whole tensors means nothing" in str(violation)


def test_replacements_of_any_dtype_are_kept() -> None:
    head = {"head.mask": np.array([0, 255, 7], np.uint8)}

    assert "head.mask" in combine([one(replacements=head)] * 2, [1, 1]).replacements


def test_what_the_adapters_state_is_kept_where_none_contradicts() -> None:
    a = one(
        base_model={"name": "bert", "revision": "1", "model_type": "bert"},
        labels=("cat", "dog"),
        target_modules=("q",),
        origin={"format": "peft", "text": "{}"},
        metadata={"note": "mine"},
        extensions={"x-a": {"must_understand": False}},
    )
    b = one(base_model={"name": "bert", "revision": "2"}, target_modules=("q",))

    combined = combine([a, b], [1, 1])

    assert combined.base_model == {"name": "bert", "model_type": "bert"}
    assert combined.labels == ("cat", "dog")
    assert combined.target_modules == ("q",)
    assert combined.seed == 7
    assert combined.producer == {"name": "fourier-format", "version": fourier_format.__version__}
    assert (combined.origin, combined.metadata, combined.extensions) == (None, None, {})


def test_what_they_state_differently_is_dropped() -> None:
    a = one(base_model={"name": "a"}, labels=("cat",), target_modules=("q",))
    b = one(base_model={"name": "b"}, labels=("dog",))

    combined = combine([a, b], [1, 1])

    assert (combined.base_model, combined.labels, combined.target_modules) == (None, None, None)


@pytest.mark.parametrize(
    ("count", "scales"),
    [(0, []), (1, []), (1, [1.0, 1.0]), (2, [1.0]), (1, [float("nan")]), (1, [float("inf")])],
)
def test_scales_that_do_not_fit_are_refused(count: int, scales: list[float]) -> None:
    error = refused(UsageError, [one()] * count, scales)

    assert error.code == "E-USAGE"


def test_adapters_of_different_transforms_are_refused() -> None:
    error = refused(UnsupportedError, [one(), one(transform="dct2")])

    assert error.violations[0].got == "dct2 and dft2"


def test_a_sum_beyond_float32_is_refused_by_name() -> None:
    error = refused(UnsupportedError, [one(), one()], [1e39, -1.0])

    assert (error.code, error.violations[0].where) == ("E-NUMBER-NONFINITE", "q")


def test_a_union_beyond_the_formats_limits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = one(), one(name="k", entries=np.array([[0, 0], [1, 1], [2, 2], [3, 3]], np.int32))

    monkeypatch.setattr(limits, "MAX_TARGETS", 1)
    targets = refused(UnsupportedError, [a, b])
    monkeypatch.setattr(limits, "MAX_TARGETS", 2)
    monkeypatch.setattr(limits, "MAX_ENTRY_SETS", 1)
    sets = refused(UnsupportedError, [a, b])

    assert (targets.code, targets.violations[0].where) == ("E-LIMIT", "targets")
    assert (sets.code, sets.violations[0].where) == ("E-LIMIT", "entries")
