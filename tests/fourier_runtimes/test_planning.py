"""Choosing a form: by a table made by hand, whose answers can be reckoned."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fourier_converters.onnx.live import live_at_load
from fourier_converters.onnx.live.spectrum import FEW_TOKENS
from fourier_format.errors import FileAccessError, UsageError
from fourier_format.live import Interface
from fourier_runtimes import AdapterSession, costs, plan
from fourier_runtimes.costs import UNITS, Group
from fourier_runtimes.plans import LABELS, Plan
from fourier_runtimes.weighing import weighed
from tests.fourier_converters.adapters import adapter as adapter_of
from tests.fourier_converters.graphs import model, save, save_external, weight
from tests.fourier_converters.onnx.quantised import IN, OUT, nbits
from tests.fourier_runtimes.handmade import COUNT, WIDTH, adapter_for, handmade, plain_model

FREE = {form: dict.fromkeys(units, 0.0) for form, units in UNITS.items()}
SIMPLE: dict[str, dict[str, float]] = FREE | {
    "base": {"run": 1000.0, "weight": 0.5, "cold": 0.3, "product": 0.02},
    "inputs": {"packed": 1.0, "product": 0.01},
    "dense": {"group": 500.0, "weight": 2.0, "cold": 0.1, "packed": 0.7, "product": 0.05},
    "factored": FREE["factored"] | {"group": 500.0, "weight": 0.5, "product": 0.02, "element": 0.5},
    "by_row": FREE["by_row"] | {"group": 900.0, "gemm": 10.0, "product": 0.02, "element": 0.5},
    "by_token": FREE["by_token"] | {"group": 900.0, "gemm": 10.0, "product": 0.02, "element": 0.5},
    "merging": {"run": 2e6, "weight": 10.0, "base_weight": 1.0},
    "delta": {"run": 1e5, "weight": 5.0},
}
D, LAYERS, SHARE = 64, 3, 12
"""Width, layers, and matrices of D x D in a layer, of which two are adapted."""
TEXT = """
    g (float[N, 64] x) => (float[N, 64] z) {
        [q] a = MatMul (x, w0)
        [v] b = MatMul (x, w1)
        [o] c = MatMul (a, w2)
        z = Add (b, c)
    }
"""
SCOPES = {"q": "layers.0.q_proj", "v": "layers.0.v_proj", "o": "layers.0.o_proj"}


def table_of(folder: Path, forms: Any = SIMPLE, device: str = "cpu") -> Path:
    path = folder / "costs.json"
    path.write_text(json.dumps({"devices": {device: {"processor": "abacus", "forms": forms}}}))
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return table_of(tmp_path)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A layer of three matrices, two of them called as targets usually are."""
    arrays = {f"w{i}": weight(D, D, seed=i) for i in range(3)}
    return save_external(model(TEXT, arrays, SCOPES), tmp_path / "base.onnx")


def whole_adapter(n: int = 50, **fields: Any) -> Any:
    names = [f"layers.{i}.{p}_proj" for i in range(LAYERS) for p in "qv"]
    return adapter_of(dict.fromkeys(names, weight(D, D)), count=n, **fields)


def planned(table: Path, adapters: int, tokens: int = 16, rows: int = 8, **options: Any) -> Plan:
    weights = LAYERS * SHARE * D * D
    given = {"adapter": whole_adapter(), "weights": weights} | options
    return plan(Interface(()), 50, adapters, tokens, rows, table=table, **given)


def ns(form: str, **work: float) -> float:
    return sum(SIMPLE[form][unit] * count for unit, count in work.items())


def test_one_adapter_is_served_merged(table: Path) -> None:
    made = planned(table, 1)

    assert made.form == "merged"
    assert made.cost("merged").relative == 1
    assert made.measured_on == "abacus, cpu"


def test_times_are_the_work_times_the_table(table: Path) -> None:
    """All of it is written out here; of the live branch `basis` knows the products itself."""
    adapted, whole, tokens = LAYERS * 2 * D * D, LAYERS * SHARE * D * D, 8 * 16
    made = planned(table, 10**6, budget=2**50)
    base = ns("base", run=1, weight=whole, product=whole * tokens)
    runs = [8, ns("base", run=1, weight=whole, product=whole * tokens / 8)]
    inputs = ns("inputs", packed=adapted, product=adapted * tokens / 8)
    matrices = {"weight": 8 * adapted, "packed": 8 * adapted}
    dense = ns("dense", group=LAYERS, product=adapted * tokens, **matrices)
    ways = LAYERS * 100 * 3 * D  # cosines and sines of 50 entries; x once, two outputs
    moved = tokens * LAYERS * (100 * 3 + 2 * D)
    factored = ns("factored", group=LAYERS, weight=ways, product=ways * tokens, element=moved)
    expected = {
        "merged": runs[0] * runs[1],
        "inputs": runs[0] * (runs[1] + inputs),
        "dense": base + dense,
        "factored": base + factored,
    }

    for form, value in expected.items():
        cost = made.cost(form)  # type: ignore[arg-type]
        assert cost.milliseconds == pytest.approx(value / 1e6, rel=1e-5), form
        assert cost.relative == pytest.approx(value / base, rel=1e-5), form


@pytest.mark.parametrize("by_token", [False, True])
@pytest.mark.parametrize("transform", ["dft2", "dct2", "dht2"])
def test_the_live_branch_does_the_products_of_its_basis(transform: str, by_token: bool) -> None:
    group = Group((48, 64), 70, 1, transform)

    work = costs.spectral(group, 4, 12, by_token=by_token)

    assert work["product"] == 12 * group.basis.products


def test_every_form_is_reckoned_in_its_own_units() -> None:
    group = Group((D, D), 9, 2)
    works = {
        "dense": costs.dense(group.weights, 2, 4),
        "factored": costs.factored(group, 4),
        "by_row": costs.spectral(group, 2, 4, by_token=False),
        "by_token": costs.spectral(group, 2, 4, by_token=True),
        "inputs": costs.inputs(group.weights, 4),
        "base": {"run": 1} | dict(costs.linear(group.weights, 4)),
    }

    assert {form: set(work) for form, work in works.items()} == {
        form: set(UNITS[form]) for form in works
    }
    assert all(n > 0 for work in works.values() for unit, n in work.items() if unit != "cold")


def test_weights_beyond_the_cache_are_cold_and_one_token_packs_nothing() -> None:
    more = costs.CACHED + 1

    assert costs.linear(costs.CACHED, 3)["cold"] == 0
    assert costs.linear(more, 3)["cold"] == more
    assert costs.dense(more / 2, 2, 2)["cold"] == more
    assert costs.dense(more, 1, 1)["packed"] == costs.inputs(more, 1)["packed"] == 0
    assert costs.inputs(more, 2)["packed"] == more


def test_few_tokens_a_row_take_the_order_by_token(tmp_path: Path) -> None:
    dear = table_of(tmp_path, SIMPLE | {"by_row": dict.fromkeys(UNITS["by_row"], 1e6)})
    limit = FEW_TOKENS

    few, more = (planned(dear, 10**6, tokens).cost("spectral") for tokens in (limit, limit + 1))

    assert few.relative < 10
    assert more.relative > 1000


@pytest.mark.parametrize(("adapters", "rows"), [(2, 2), (5, 8), (100, 32), (10_000, 32)])
def test_a_batch_asks_for_as_many_adapters_as_its_rows_draw(
    adapters: int, rows: int, tmp_path: Path
) -> None:
    """Merged sessions take a run for each, so that a table of runs alone counts them."""
    forms = FREE | {"base": FREE["base"] | {"run": 1.0}}
    drawn = np.random.default_rng(1).integers(0, adapters, (20_000, rows))
    expected = np.mean([len(set(row)) for row in drawn.tolist()])

    made = planned(table_of(tmp_path, forms), adapters, rows=rows, budget=2**60)

    assert made.cost("merged").relative == pytest.approx(expected, rel=0.01)


def test_a_run_may_be_said_to_ask_for_one_adapter(table: Path) -> None:
    made = planned(table, 10**6, per_run=1, budget=2**60)

    assert made.cost("merged").relative == 1
    assert made.form == "merged"


NS = st.floats(0, 1e4)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    forms=st.fixed_dictionaries(
        {f: st.fixed_dictionaries(dict.fromkeys(u, NS)) for f, u in UNITS.items()}
    ),
    few=st.integers(1, 200),
    more=st.integers(1, 200),
    tokens=st.integers(1, 300),
    rows=st.integers(1, 40),
    held=st.integers(1, 250),
)
def test_more_adapters_never_make_merged_sessions_better(
    forms: Any, few: int, more: int, tokens: int, rows: int, held: int, tmp_path: Path
) -> None:
    forms["base"]["run"] += 1.0  # a base takes some time
    place, budget = table_of(tmp_path, forms), held * LAYERS * 2 * D * D * 4
    counts = (few, few + more)

    fewer, many = (planned(place, a, tokens, rows, budget=budget) for a in counts)

    assert fewer.cost("merged").milliseconds <= many.cost("merged").milliseconds * (1 + 1e-9)
    live = [made.cost("spectral").milliseconds for made in (fewer, many)]
    merged = [made.cost("merged").milliseconds for made in (fewer, many)]
    if few > 1 and merged[0] > live[0] * (1 + 1e-9):
        assert merged[1] > live[1]


def test_what_all_adapters_take_is_their_weights_or_their_coefficients(table: Path) -> None:
    made = planned(table, 100, budget=2**60)
    adapted, coefficients = LAYERS * 2 * D * D, LAYERS * 2 * 50

    taken = {form: made.cost(form).nbytes for form in LABELS}

    basis = Group((D, D), 50).basis.nbytes
    assert taken["merged"] == taken["inputs"] == 100 * adapted * 4
    assert taken["dense"] == (100 + 8) * adapted * 4  # and what eight rows gather
    assert taken["spectral"] == 100 * coefficients * 4 + basis
    assert taken["factored"] == 100 * coefficients * 4 + 2 * 50 * 2 * D * 4


def test_what_is_not_held_is_made_when_it_is_asked_for(table: Path) -> None:
    each = LAYERS * 2 * D * D * 4
    held, half = (planned(table, 4, rows=1, budget=each * count + 7) for count in (4, 2))
    making = ns("merging", run=1, weight=each / 4, base_weight=LAYERS * SHARE * D * D)

    more = half.cost("merged").milliseconds - held.cost("merged").milliseconds

    assert more == pytest.approx(making / 2 / 1e6)
    assert "50% made when asked for" in half.cost("merged").note
    assert held.form == "merged"
    assert half.form != "merged"


def test_a_session_that_does_not_fit_the_budget_is_no_choice(table: Path) -> None:
    made = planned(table, 1, budget=LAYERS * 2 * D * D * 4 - 1)

    assert math.isinf(made.cost("merged").milliseconds)
    assert made.form in {"spectral", "factored"}
    assert "budget" in str(made)


def test_on_another_device_every_session_has_its_own_base(tmp_path: Path) -> None:
    table, whole = table_of(tmp_path, device="cuda"), LAYERS * SHARE * D * D

    assert planned(table, 3, device="cuda").cost("merged").nbytes == 3 * whole * 4


def test_a_merged_session_pays_after_the_runs_that_make_up_for_it(table: Path) -> None:
    made = planned(table, 1, tokens=64, rows=1)
    saved = made.cost("spectral").milliseconds - made.cost("merged").milliseconds
    making = ns("merging", run=1, weight=LAYERS * 2 * D * D, base_weight=LAYERS * SHARE * D * D)

    assert made.pays_after == math.ceil(making / 1e6 / saved)


def test_what_no_live_graph_serves_is_served_otherwise(table: Path) -> None:
    wavelets = planned(table, 10**6, adapter=whole_adapter(transform="dwt2:haar"))
    convolved = adapter_of({"conv": weight(D, D)}, kind="conv2d")

    for made in (wavelets, planned(table, 10**6, adapter=convolved)):
        assert math.isinf(made.cost("spectral").relative)
        assert made.pays_after is None
        assert made.form not in {"spectral", "factored"}


def test_a_plain_base_is_weighed_by_its_layers_and_their_names(base: Path, table: Path) -> None:
    made = plan(base, 50, 1, 4, table=table)

    assert weighed(base).weights == 3 * D * D
    assert made.relative_to == "the base"
    assert made.cost("inputs").nbytes == 2 * D * D * 4
    graph = base.stat().st_size  # its weights are in another file
    assert 2 * D * D * 4 < made.cost("merged").nbytes < 2 * D * D * 4 + 20 * graph
    only = plan(base, 50, 1, 4, targets=("o_proj",), table=table)
    assert only.cost("inputs").nbytes == D * D * 4


@pytest.mark.parametrize("half", [False, True])
def test_a_base_says_whether_all_of_it_is_float32(half: bool, tmp_path: Path) -> None:
    path = tmp_path / "base.onnx"
    path.write_bytes(plain_model(handmade(0, half=half)))

    assert weighed(path).is_float32 is not half
    assert weighed(path).weights == 2 * WIDTH * WIDTH + 3 * WIDTH


def test_a_packed_weight_counts_once_and_has_its_parts(tmp_path: Path, table: Path) -> None:
    text = """
        g (float[N, 64] x) => (float[N, 64] z) {
            [p] a = MatMul (x, w)
            q, k, v = Split <axis = -1> (a, sizes)
            b = Add (q, k)
            z = Add (b, v)
        }
    """
    arrays = {"w": weight(D, 3 * D), "sizes": np.array([D, D, D])}
    proto = model(text, arrays, {"p": "layers.0.self_attn.qkv_proj"})
    path = save(proto, tmp_path / "base.onnx")

    assert weighed(path).weights == 3 * D * D
    assert plan(path, 9, 1, 4, table=table).cost("inputs").nbytes == 2 * D * D * 4


def test_quantised_layers_count_and_are_not_float32(tmp_path: Path) -> None:
    found = weighed(save(nbits().model(), tmp_path / "base.onnx"))

    assert not found.is_float32
    assert found.weights == OUT * IN


def test_a_live_graph_is_weighed_without_its_branches(tmp_path: Path, table: Path) -> None:
    plain, live = tmp_path / "base.onnx", tmp_path / "live.onnx"
    known = handmade(0)
    plain.write_bytes(plain_model(known))
    adapter = adapter_for(known, 1, head=True)
    made = live_at_load([adapter], plain)
    live.write_bytes(made.model)

    assert weighed(live).weights == weighed(plain).weights
    for static in (False, True):
        live.write_bytes(live_at_load([adapter], plain, static=static).model)
        assert weighed(live).weights == weighed(plain).weights

    plans = [plan(live, None, 7, 4, table=table)]
    plans.append(plan(made.interface, None, 7, 4, weights=weighed(plain).weights, table=table))
    plans.append(plan(plain, COUNT, 7, 4, adapter=adapter, table=table))
    with AdapterSession(plain, adapters={"a": adapter}) as session:
        plans.append(plan(session, None, 7, 4, table=table))
    assert (
        len({(p.form, *((c.form, c.milliseconds, c.relative) for c in p.costs)) for p in plans})
        == 1
    )
    assert len({p.cost("spectral") for p in plans}) == 1


def test_an_interface_alone_is_compared_with_its_own_layers(table: Path) -> None:
    made = plan(handmade(0).interface, None, 3, 4, table=table)

    assert made.relative_to == "the adapted layers"
    assert "times the adapted layers" in str(made)


def test_a_plan_reads_as_a_table(table: Path) -> None:
    lines = str(planned(table, 200)).splitlines()

    assert lines[0].split()[0] == "form"
    assert {line.split("  ")[0] for line in lines[1:6]} == set(LABELS.values())
    assert lines[1].startswith(lines[6].split(":")[0])
    assert lines[6].endswith(".")


@pytest.mark.parametrize("name", ["n", "adapters", "tokens", "rows"])
def test_counts_below_one_are_refused(name: str, table: Path) -> None:
    counts = {"n": 5, "adapters": 5, "tokens": 5, "rows": 5, name: 0}

    with pytest.raises(UsageError, match=name):
        plan(handmade(0).interface, **counts, table=table)  # type: ignore[arg-type]


def test_what_is_not_known_is_asked_for(base: Path, table: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="entries"):
        plan(base, None, 5, 5, table=table)
    with pytest.raises(UsageError, match="which layers"):
        plan(base, 50, 5, 5, targets=("nobody",), table=table)
    with pytest.raises(UsageError, match="which layers"):
        plan(Interface(()), 50, 5, 5, table=table)
    with pytest.raises(UsageError, match="cuda"):
        plan(base, 50, 5, 5, device="cuda", table=table)
    with pytest.raises(FileAccessError):
        plan(base, 50, 5, 5, table=tmp_path / "absent.json")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"devices": {"cpu": {}}}', json.dumps({"devices": {"cpu": 3}})]
)
def test_a_file_that_is_no_table_is_refused(text: str, base: Path, tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text(text)

    with pytest.raises(UsageError, match=r"costs\.json"):
        plan(base, 50, 5, 5, table=path)


@pytest.mark.parametrize("wrong", [-1.0, math.inf, math.nan])
def test_a_table_of_impossible_costs_is_refused(wrong: float, base: Path, tmp_path: Path) -> None:
    forms = SIMPLE | {"delta": {"run": wrong, "weight": 0.0}}

    with pytest.raises(UsageError, match="no table of costs"):
        plan(base, 50, 5, 5, table=table_of(tmp_path, forms))


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_bytes(json.dumps({"devices": {}}).encode("utf-16"))

    with pytest.raises(UsageError, match=r"costs\.json: this is no table of costs"):
        costs.table(path=path)


def test_our_own_table_serves_one_adapter_merged_and_many_live() -> None:
    names = [f"layer.{i}.attention.self.{p}" for i in range(6) for p in ("query", "value")]
    minilm = adapter_of(dict.fromkeys(names, weight(384, 384)), count=1000, prints=False)
    weights = 6 * 12 * 384**2
    given: dict[str, Any] = {"adapter": minilm, "weights": weights}

    one = plan(Interface(()), 1000, 1, 64, 32, **given)
    many = plan(Interface(()), 1000, 1000, 64, 32, **given)

    assert one.form == "merged"
    assert many.form == "spectral"
    assert 1.0 < many.cost("spectral").relative < 2.0
    assert costs.table().processor
