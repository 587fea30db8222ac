"""Live graphs of real models: nothing fed they are the base, each row of a batch its own adapter's.

The adapters are random, laid out as PEFT lays them out, on every linear layer; they change the
output by some 10 to 20 % of its largest value (asserted: 5 to 50 %).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from fourier_converters.onnx import to_onnx
from fourier_converters.onnx.live import read_interface, to_live
from fourier_format import Adapter
from fourier_format.live import Fitter, Interface
from tests.real.checks import compare, effects, figures, worst
from tests.real.cuda_kernels import operators, opset, without_kernel
from tests.real.live_bases import HALF, KINDS, ROUNDING, WIDE, Base, base_of
from tests.real.live_reference import Row, adapters, reference
from tests.real.workspace import Array, once
from tests.tolerances import (
    LIVE_EFFECT_F32,
    LIVE_HALF_RATIO,
    LIVE_MERGED_F32,
    LIVE_OUTPUT_F32,
    LIVE_ROUNDING_RATIO,
)

pytestmark = pytest.mark.real
_ADAPTERS = 32
ROWS: tuple[Row, ...] = ({}, *({number: 1.0} for number in range(_ADAPTERS)), {3: 0.7, 5: -0.3})
"""The base, every adapter, and a blend."""
FEW, MANY = 5, 12
"""Tokens a row, of which terms are computed in two orders."""


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """A base, its adapters and its live graph, opened."""

    base: Base
    wholes: list[Adapter]
    path: Path
    interface: Interface
    sessions: tuple[onnxruntime.InferenceSession, onnxruntime.InferenceSession]

    def feeds(self, rows: Sequence[Row]) -> dict[str, NDArray[np.float32]]:
        """Return what rows feed: a blend is the sum of what its adapters do."""
        fitter = Fitter(self.interface)
        used = sorted({which for row in rows for which in row})
        values = {which: fitter.fit(self.wholes[which], str(which)) for which in used}
        layouts = self.interface.layouts
        fed = {n: np.zeros((len(rows), *of), np.float32) for n, of in layouts.items()}
        for number, row in enumerate(rows):
            for which, share in row.items():
                for name, value in values[which].items():
                    fed[name][number] += np.float32(share) * value
        return fed

    def run(self, tokens: Mapping[str, Array], rows: Sequence[Row] | None) -> list[Array]:
        """Return what the live graph computes; None feeds nothing."""
        given = self._given(tokens) | ({} if rows is None else self.feeds(rows))
        return self._outputs(self.sessions[1], given)

    def unchanged(self, tokens: Mapping[str, Array]) -> list[Array]:
        """Return what the base computes."""
        return self._outputs(self.sessions[0], self._given(tokens))

    def merged(self, which: int, tokens: Mapping[str, Array], folder: Path) -> list[Array]:
        """Return what the base with one adapter merged into it computes."""
        path = folder / "merged.onnx"
        to_onnx(self.wholes[which], self.base.path, path, overwrite=True)
        return self._outputs(_opened(path), self._given(tokens))

    def _given(self, tokens: Mapping[str, Array]) -> dict[str, Array]:
        values = self.base.given(dict(tokens))
        return {given.name: values[given.name] for given in self.sessions[0].get_inputs()}

    def _outputs(
        self, session: onnxruntime.InferenceSession, given: dict[str, Array]
    ) -> list[Array]:
        return [np.asarray(o) for o in session.run(None, given)[: self.base.outputs]]


def _opened(path: Path) -> onnxruntime.InferenceSession:
    """Open a model as ONNX Runtime does by itself."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _tokens(base: Base, rows: int, count: int) -> dict[str, Array]:
    """Draw tokens; some rows end before the others."""
    random = np.random.default_rng(3)
    ids = random.integers(5, base.model().config.vocab_size, (rows, count))
    mask = np.ones_like(ids)
    mask[::3, -2:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _row(tokens: Mapping[str, Array], number: int) -> dict[str, Array]:
    return {name: value[number : number + 1] for name, value in tokens.items()}


LiveOf = Callable[[str], Live]


@pytest.fixture(scope="session")
def live_of(shared_folder: Path) -> LiveOf:
    """Return the live graph of a kind; it is made once, and few are open at a time."""

    @lru_cache(maxsize=4)
    def live(kind: str) -> Live:
        base = base_of(kind, shared_folder / "live")
        wholes = adapters(base, _ADAPTERS)

        def save(folder: Path) -> None:
            to_live([wholes[0]], base.path, folder / "live.onnx")

        path = once(shared_folder / "live" / f"{kind} live", save) / "live.onnx"
        interface = read_interface(path)
        assert interface is not None
        return Live(base, wholes, path, interface, (_opened(base.path), _opened(path)))

    return live


def _expected(live: Live, count: int) -> tuple[dict[str, Array], list[Array], list[Array]]:
    """Return tokens, and what torch computes of them in float64 with and without adapters."""
    tokens = _tokens(live.base, len(ROWS), count)

    def save(folder: Path) -> None:
        adapted = reference(live.base, live.wholes, ROWS, tokens)
        base = reference(live.base, [], [{}] * len(ROWS), tokens)
        np.savez(folder / "arrays.npz", *adapted, *base, allow_pickle=False)

    folder = once(live.path.parent.with_name(f"{live.path.parent.name} {count}"), save)
    with np.load(folder / "arrays.npz") as arrays:
        found = [arrays[f"arr_{number}"] for number in range(len(arrays.files))]
    half = len(found) // 2
    return tokens, found[:half], found[half:]


@pytest.mark.parametrize("kind", [*KINDS, *ROUNDING])
def test_nothing_fed_is_the_base_to_the_bit(kind: str, live_of: LiveOf) -> None:
    """Every linear layer is adapted, and ONNX Runtime fuses what it likes."""
    live = live_of(kind)
    layers = {seat.name for bank in live.interface.banks for seat in bank.seats}
    assert layers == set(live.base.targets())

    for rows, count in ((1, FEW), (4, FEW), (1, MANY), (4, MANY)):
        tokens = _tokens(live.base, rows, count)
        got = live.run(tokens, None)
        for before, after in zip(live.unchanged(tokens), got, strict=True):
            assert np.array_equal(before, after), (rows, count)


@pytest.mark.parametrize("count", [FEW, MANY])
@pytest.mark.parametrize("kind", [*KINDS, pytest.param(WIDE, marks=pytest.mark.slow)])
def test_every_row_of_a_batch_is_its_own_adapters_in_torch(
    kind: str, count: int, live_of: LiveOf
) -> None:
    """Of int4 and int8 graphs with the weights that they have, in float64."""
    live = live_of(kind)
    tokens, adapted, base = _expected(live, count)
    changed = effects(adapted, base)
    sizes = [np.abs(e).max() / np.abs(adapted[0]).max() for e in changed[0]]

    got, before = live.run(tokens, ROWS), live.unchanged(tokens)

    output = worst(adapted, got)
    effect = worst(changed, effects(got, before))
    figures.info("effects %.2f to %.2f", min(sizes[1:]), max(sizes))
    figures.info("output %.1e, effect %.1e, base %.1e", output, effect, worst(base, before))
    assert min(sizes[1:]) >= 0.05
    assert max(sizes) <= 0.5
    assert output <= LIVE_OUTPUT_F32
    assert effect <= LIVE_EFFECT_F32


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "llama torchscript"])
def test_rows_are_those_rows_alone_on_their_merged_models(
    kind: str, live_of: LiveOf, tmp_path: Path
) -> None:
    _compare_with_merged(live_of(kind), (0, 17, 31), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["minilm torchscript", "minilm torchscript int4", "built int4"])
def test_all_rows_are_those_rows_alone_on_their_merged_models(
    kind: str, live_of: LiveOf, tmp_path: Path
) -> None:
    _compare_with_merged(live_of(kind), range(_ADAPTERS), tmp_path)


def _compare_with_merged(live: Live, which: Sequence[int], folder: Path) -> None:
    tokens = _tokens(live.base, len(ROWS), MANY)
    together = live.run(tokens, ROWS)

    alone = live.unchanged(_row(tokens, 0))
    errors = [worst([o[:1] for o in together], alone)]
    for number in which:
        at = ROWS.index({number: 1.0})
        one = live.merged(number, _row(tokens, at), folder)
        errors.append(worst(one, [output[at : at + 1] for output in together]))
    figures.info("off by %.1e", max(errors))
    assert max(errors) <= LIVE_MERGED_F32


@pytest.mark.parametrize("kind", ROUNDING)
def test_with_rounded_activations_a_batch_is_what_its_merged_model_makes_of_it(
    kind: str, live_of: LiveOf, tmp_path: Path
) -> None:
    """One adapter for all rows: each is as far from the merged model's as the base's own rows are
    from themselves in another batch, where the largest value is another one's."""
    live = live_of(kind)
    tokens = _tokens(live.base, 6, MANY)
    base = live.unchanged(tokens)
    own = max(
        worst([o[n : n + 1] for o in base], live.unchanged(_row(tokens, n))) for n in range(6)
    )

    merged = live.merged(4, tokens, tmp_path)

    error, change = worst(merged, live.run(tokens, [{4: 1.0}])), worst(base, merged)
    figures.info("off by %.1e, base's own %.1e, effect %.2f", error, own, change)
    assert change > 0.05
    assert error <= LIVE_ROUNDING_RATIO * own


def test_float16_is_as_exact_as_its_base(live_of: LiveOf) -> None:
    """Nothing fed, too: to the bit only where the provider computes in float16.

    The CPU's computes in float32, and leaves out the rounding between two such nodes. Between a
    node and an If it does not.
    """
    live = live_of(HALF)
    tokens, adapted, base = _expected(live, MANY)

    got, nothing = live.run(tokens, ROWS), live.run(tokens, None)

    own, error = worst(base, live.unchanged(tokens)), worst(adapted, got)
    figures.info("base %.1e, live %.1e, nothing fed %.1e", own, error, worst(base, nothing))
    assert compare(base[0], adapted[0]) > 0.05
    assert error <= LIVE_HALF_RATIO * own
    assert worst(base, nothing) <= LIVE_HALF_RATIO * own


@pytest.mark.parametrize("kind", ["minilm torchscript", "minilm torchscript fused", "built int4"])
def test_the_static_form_computes_the_same(kind: str, live_of: LiveOf, tmp_path: Path) -> None:
    live = live_of(kind)
    static = tmp_path / "static.onnx"
    to_live([live.wholes[0]], live.base.path, static, static=True)
    interface = read_interface(static)
    assert interface is not None
    assert "If" not in {operator.kind for operator in operators(static)}
    opened = Live(live.base, live.wholes, static, interface, (live.sessions[0], _opened(static)))
    tokens, adapted, base = _expected(live, MANY)

    got, nothing = opened.run(tokens, ROWS), opened.run(tokens, None)

    assert worst(adapted, got) <= LIVE_OUTPUT_F32
    assert worst(base, nothing) <= LIVE_OUTPUT_F32


@pytest.mark.parametrize("kind", [*KINDS, HALF, *ROUNDING])
def test_every_added_operator_has_a_kernel_of_the_cuda_provider(
    kind: str, live_of: LiveOf, tmp_path: Path
) -> None:
    """So that no node of a branch falls back to the CPU, with copies there and back."""
    live = live_of(kind)
    static = tmp_path / "static.onnx"
    to_live([live.wholes[0]], live.base.path, static, static=True)

    for path in (live.path, static):
        added = operators(path) - operators(live.base.path)
        assert {operator.kind for operator in added} >= {"MatMul", "Gather", "Transpose", "Add"}
        assert without_kernel(added, opset(path)) == set()
