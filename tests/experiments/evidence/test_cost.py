"""The section on cost says what its numbers say: checked on times that known costs made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from experiments.cost import work
from experiments.cost.arms import Arm, arms
from experiments.cost.experiment import COST
from experiments.cost.model import Errors, Study, predicted
from experiments.cost.points import Ratios
from experiments.evidence.blocks import Block, Figure, Table
from experiments.evidence.evidence import Evidence
from experiments.evidence.plots import drawn
from experiments.evidence.sections import cost_crossings
from experiments.evidence.sections.cost import SECTION
from experiments.evidence.sections.cost_comparing import cell, told
from experiments.records import Book, Record
from experiments.trial import Json, Options, key

SIZES, RANKS, WIDTHS, TOKENS = [200, 1000, 5000], [1, 8, 64], (256, 512, 1024), (64, 512)
FFT = {"base": 1e-5, "lora": 5e-5, "activation": 1e-4, "weight": 1e-4, "gemm": 1e-11,
       "thin": 3e-11, "fft": 1e-10, "route": 1e-11, "moved": 1e-10}  # fmt: skip


BYTES = {"state": 4.0, "lora state": 4.0, "product": 4.0, "factor": 8.0, "cell": 8.0, "row": 8.0,
         "cell block": 4.0, "block": 16.0, "entry": 40.0}  # fmt: skip
AROUND = {"load": [0.5, 1.5, 1.0], "processor": "one of two cores"}


def record(trial: str, fields: Json, result: Json) -> Record:
    label = f"{trial} {' '.join(f'{k}={v}' for k, v in fields.items() if isinstance(v, int))}"
    environment = {"device": "cpu", "threads": 2, "versions": {}}
    common = {"trial": trial, "sizes": SIZES, "ranks": RANKS, "rounds": 3}
    return Record(label, label, label, 3, common | fields, result, 1.0, environment)


def step(arm: Arm, width: int, tokens: int, costs: dict[str, float]) -> Json:
    plan = ["activation" if arm.path == "auto" else arm.path] * 3 if arm.kind == "fourier" else []
    counted = {
        "base": lambda: work.base(width, tokens),
        "lora": lambda: work.lora(width, tokens, arm.size),
        "fourier": lambda: work.fourier(width, tokens, arm.size, plan),
    }[arm.kind]()
    seconds = predicted(counted, costs)
    held = 4 * (arm.size * (2 * width if arm.kind == "lora" else 1))
    return {
        "kind": arm.kind,
        "size": arm.size,
        "path": arm.path,
        "plan": plan,
        "seconds": [0.9 * seconds, seconds, 1.2 * seconds],
        "update": [1e-6 * arm.size] * 3 if arm.size and arm.path == "auto" else [],
        "bytes": {
            "parameters": held,
            "gradients": held,
            "states": 2 * held,
            "shared": 100,
            "saved": 4 * width * tokens,
            "peak": predicted(work.held(arm.kind, width, tokens, arm.size, plan), BYTES),
        },
    }


def converted(width: int, slow: float) -> Json:
    def job(kind: str, size: int, name: str) -> Json:
        seconds = predicted(
            work.delta(kind, width, size), FFT | {"product": 1e-11, "fourier": 1e-4}
        )
        return {"kind": kind, "size": size, "job": name, "seconds": [slow * seconds] * 3}

    jobs = [job("fourier", n, name) for n in SIZES for name in ("delta", "merge", "convert")]
    jobs += [job("lora", rank, name) for rank in RANKS for name in ("delta", "merge")]
    return {"jobs": jobs, **AROUND, "base_bytes": 10, "merged_bytes": 10, "same_nodes": True}


def served(width: int) -> Json:
    forms = [("base", 0, "one", 1.0)]
    forms += [("live", n, fed, 1.2) for n in SIZES for fed in ("one", "rows")]
    forms += [
        ("lora", rank, fed, over)
        for rank in RANKS
        for fed, over in (("one", 1.1), ("rows", 4.0), ("batched", 1.1))
    ]
    return {
        "provider": "CPUExecutionProvider",
        **AROUND,
        "forms": [
            {
                "kind": kind,
                "size": size,
                "adapters": fed,
                "seconds": [over * 1e-9 * width**2] * 3,
                "work": {"base product": width**2, f"{kind} {fed} more": (over - 1) * width**2},
            }
            for kind, size, fed, over in forms
        ],
    }


def evidence(costs: dict[str, float]) -> Evidence:
    records = [
        record(
            "TrainTrial",
            {"width": width, "tokens": tokens},
            {"arms": [step(arm, width, tokens, costs) for arm in arms(SIZES, RANKS)], **AROUND},
        )
        for width in WIDTHS
        for tokens in TOKENS
    ]
    for width in WIDTHS:
        files = [{"kind": "fourier", "size": n, "bytes": 24 * n + 1000} for n in SIZES]
        files += [{"kind": "lora", "size": r, "bytes": 32 * r * width} for r in RANKS]
        records.append(
            record("FileTrial", {"width": width, "layers": 2}, {"targets": 4, "files": files})
        )
        records.append(record("ConversionTrial", {"width": width}, converted(width, 1.0)))
        fields = {"width": width, "rows": 4, "tokens": 8}
        records.append(record("ServeTrial", fields, served(width)))
    return Evidence("small", {"cost": tuple(sorted(records, key=lambda found: found.label))})


@pytest.fixture(scope="module")
def blocks() -> list[Block]:
    return list(SECTION.render(evidence(FFT)))


def table(blocks: list[Block], first: str) -> Table:
    return next(b for b in blocks if isinstance(b, Table) and b.header[0].startswith(first))


def said(blocks: list[Block]) -> str:
    return "\n".join(block for block in blocks if isinstance(block, str))


def test_every_row_has_a_cell_for_each_column(blocks: list[Block]) -> None:
    for block in blocks:
        if isinstance(block, Table):
            assert {len(row) for row in block.rows} == {len(block.header)}


def test_the_fitted_costs_are_those_that_made_the_times(blocks: list[Block]) -> None:
    found = {row[0]: float(row[1]) for row in table(blocks, "unit").rows}

    assert found == pytest.approx({unit: 1e9 * cost for unit, cost in FFT.items()}, rel=0.01)


def test_a_model_that_made_the_times_has_no_error_at_any_width(blocks: list[Block]) -> None:
    errors = next(b for b in blocks if isinstance(b, Table) and b.header[1] == "points")

    assert {cell for row in errors.rows for cell in row[2:]} == {"0 %"}
    assert "It does not explain" not in said(blocks).split("#### Memory")[0]


def test_the_ratio_to_lora_is_that_of_the_rounds(blocks: list[Block]) -> None:
    times = table(blocks, "width")
    ours = predicted(work.fourier(256, 64, 1000, ("activation",) * 3), FFT)
    lora = predicted(work.lora(256, 64, 8), FFT)

    assert times.rows[0][0] == "256"
    assert times.rows[0][-1] == f"{ours / lora:.2f} ({ours / lora:.2f} to {ours / lora:.2f})"


@pytest.mark.parametrize(
    ("costs", "sentence"),
    [
        (FFT | {"fft": 1e-8}, "Of 6: slower in every round: 256 with 64 tokens, "),
        (
            FFT | {"fft": 0.0, "route": 0.0, "activation": 0.0, "moved": 0.0},
            "Of 6: faster in every round: 256 with 64 tokens, ",
        ),
    ],
    ids=["dear", "free"],
)
def test_the_conclusion_follows_the_numbers(costs: dict[str, float], sentence: str) -> None:
    assert sentence in said(list(SECTION.render(evidence(costs))))


def test_where_a_kind_is_off_the_page_says_so() -> None:
    whole = evidence(FFT)
    records = [
        replace(found, result=converted(found.trial["width"], 1.0 + 4 * (k % 2)))
        if found.trial["trial"] == "ConversionTrial"
        else found
        for k, found in enumerate(whole.of("cost"))
    ]

    found = said(list(SECTION.render(replace(whole, files={"cost": tuple(records)}))))

    assert "It does not explain fourier and lora" in found


def test_serving_is_compared_batch_by_batch(blocks: list[Block]) -> None:
    assert "a Run a row, r = 8. Of 3: faster in every round: 256 wide with 4 x 8, " in said(blocks)
    assert "each row's factors, r = 8. Of 3: slower in every round: 256 wide with 4 x 8, " in said(
        blocks
    )
    assert "LoRA, r = 8. Of 3: slower in every round: 256 wide with 4 x 8, " in said(blocks)
    row = table(blocks, "width, rows x tokens").rows[0]
    assert [cell.split()[0] for cell in row[2:]] == ["1.20", "1.10", "1.20", "4.00", "1.10"]


def test_the_live_graph_stands_over_each_form_of_lora(blocks: list[Block]) -> None:
    found = next(
        block for block in blocks if isinstance(block, Table) and block.header[1].startswith("one ")
    )
    assert [cell.split()[0] for cell in found.rows[0]] == ["256,", "1.09", "0.30", "1.09"]


def test_a_single_row_has_no_adapter_a_row_to_compare() -> None:
    whole = evidence(FFT)
    single = tuple(
        replace(found, trial=found.trial | {"rows": 1})
        for found in whole.of("cost")
        if found.trial["trial"] == "ServeTrial"
    )
    found = list(SECTION.render(replace(whole, files={"cost": single})))
    assert "With one adapter for all rows, the live graph" in said(found)
    assert "With an adapter for each row" not in said(found)


def test_of_memory_both_the_whole_peak_and_what_is_above_the_bases_are_told(
    blocks: list[Block],
) -> None:
    steps = [
        found.result["arms"]
        for found in only(evidence(FFT), "TrainTrial").of("cost")
        if found.trial["tokens"] == 512
    ]

    def peak(arms_: list[Json], **fields: object) -> float:
        return next(
            float(arm["bytes"]["peak"])
            for arm in arms_
            if all(arm[name] == value for name, value in fields.items())
        )

    above, whole = [], []
    for each in steps:
        base = peak(each, kind="base")
        ours, lora = peak(each, size=1000, path="auto"), peak(each, kind="lora", size=8)
        above.append((ours - base) / (lora - base))
        whole.append(ours / lora)
    told_as = f"{min(above):.2g} to {max(above):.2g} of what one layer's peak lies above the base's"
    assert told_as in said(blocks)
    assert f"{min(whole):.2g} to {max(whole):.2g} of that whole peak" in said(blocks)


def test_where_rounds_disagree_nothing_is_concluded() -> None:
    """A median below 1 is no win: here one round of three is the other way."""
    found = Ratios((0.9, 0.95, 1.2))

    assert found.faster is None
    assert cell(found) == "0.95 (0.90 to 1.20)"
    assert told({"here": found}) == "Of 1: the rounds disagree, so it cannot be told: here."
    assert (Ratios((0.9, 0.95)).faster, Ratios((1.1, 1.2)).faster) == (True, False)


def only(whole: Evidence, *trials: str) -> Evidence:
    kept = tuple(found for found in whole.of("cost") if found.trial["trial"] in trials)
    return replace(whole, files={"cost": kept})


HEADINGS = {
    "TrainTrial": "#### Forward and backward of one adapted layer",
    "FileTrial": "#### Bytes of a file",
    "ConversionTrial": "#### Conversion",
    "ServeTrial": "#### Serving",
}


@pytest.mark.parametrize("absent", HEADINGS)
def test_what_has_not_run_is_named_and_the_rest_is_shown(absent: str) -> None:
    found = said(list(SECTION.render(only(evidence(FFT), *(HEADINGS.keys() - {absent})))))

    assert "Not measured yet at this size: " in found
    assert [name for name, heading in HEADINGS.items() if heading not in found] == [absent]


@pytest.mark.parametrize("there", HEADINGS)
def test_one_class_of_trials_is_a_section(there: str) -> None:
    found = said(list(SECTION.render(only(evidence(FFT), there))))

    assert [name for name, heading in HEADINGS.items() if heading in found] == [there]


def test_a_first_trial_is_shown_before_all_others_have_run() -> None:
    whole = evidence(FFT)
    for record_ in whole.of("cost"):
        blocks = list(SECTION.render(replace(whole, files={"cost": (record_,)})))
        assert any(isinstance(block, Table) for block in blocks)
        assert "has not seen" not in said(blocks)


def test_one_width_says_nothing_about_others() -> None:
    found = said(list(SECTION.render(evidence_of_width(256))))

    assert "of the fit to the one width there is" in found
    assert "has not seen" not in found


def evidence_of_width(width: int) -> Evidence:
    whole = evidence(FFT)
    kept = tuple(found for found in whole.of("cost") if found.trial["width"] == width)
    return replace(whole, files={"cost": kept})


def test_results_of_several_machines_are_not_compared_silently() -> None:
    whole = evidence(FFT)
    first, *rest = whole.of("cost")
    other = replace(first, environment={**first.environment, "threads": 1})

    found = said(list(SECTION.render(replace(whole, files={"cost": (other, *rest)}))))

    assert "These differ, so rows must not be compared" in found
    assert "These differ" not in said(list(SECTION.render(whole)))


def test_the_load_and_the_processor_are_stated(blocks: list[Block]) -> None:
    assert "Measured on: cpu, 2 threads, one of two cores. Load average" in said(blocks)
    assert "0.5 to 1.5" in said(blocks)


@pytest.mark.parametrize(
    ("first", "columns"),
    [("width", 7), ("width, 512 tokens", 7), ("width, rows x tokens", 7)],
)
def test_every_n_and_rank_is_shown_at_every_width(
    blocks: list[Block], first: str, columns: int
) -> None:
    tables = [
        b for b in blocks
        if isinstance(b, Table) and b.header[0] == first
        and any(" = 5000" in cell for cell in b.header)
        and any("r = 64" in cell for cell in b.header)
    ]  # fmt: skip

    assert len(tables) >= 2
    for found in tables:
        assert len(found.header) >= columns
        assert {row[0].split(",")[0] for row in found.rows} == {str(width) for width in WIDTHS}
        assert all("-" not in row for row in found.rows)


def test_the_model_of_memory_finds_the_bytes_that_made_the_peaks(blocks: list[Block]) -> None:
    units = next(b for b in blocks if isinstance(b, Table) and list(b.header) == ["unit", "bytes"])

    assert {row[0]: float(row[1]) for row in units.rows} == pytest.approx(BYTES, rel=0.02)


def crossing_tables(costs: dict[str, float], slow: float = 1.0) -> list[Table]:
    whole = evidence(costs)
    records = [skewed(found, slow) for found in whole.of("cost")]
    rendered = list(SECTION.render(replace(whole, files={"cost": tuple(records)})))
    return [b for b in rendered if isinstance(b, Table) and "64 tokens, model" in b.header]


def skewed(found: Record, slow: float) -> Record:
    """A record whose LoRAs take longer at width 512, as no model of these units says."""
    if found.trial["trial"] != "TrainTrial" or found.trial["width"] != 512:
        return found
    arms_ = [
        {**arm, "seconds": [slow * s for s in arm["seconds"]]} if arm["kind"] == "lora" else arm
        for arm in found.result["arms"]
    ]
    return replace(found, result={**found.result, "arms": arms_})


def test_crossing_points_say_how_far_was_asked_and_what_was_measured() -> None:
    widths, ranks = crossing_tables(FFT | {"fft": 1e-8})

    assert list(widths.header[1:3]) == ["64 tokens, model", "64 tokens, measured"]
    assert set(widths.rows[2][1:]) == {"> 16,384", "> 1,024"}
    assert set(ranks.rows[0][1:]) <= {"> 512", "> 64"}


def test_where_it_is_cheaper_from_the_first_on_the_crossing_may_lie_below() -> None:
    free = FFT | {"fft": 0.0, "route": 0.0, "activation": 0.0, "moved": 0.0, "weight": 0.0}
    widths, ranks = crossing_tables(free)

    assert widths.rows[0][1:3] == ["\N{LESS-THAN OR EQUAL TO} 128", "\N{LESS-THAN OR EQUAL TO} 256"]
    assert ranks.rows[0][1:3] == ["1", "1"]  # there is no lower rank


def test_the_planned_points_that_have_not_run_are_named() -> None:
    plan = COST.plan(Options("small"), Book("small")).trials
    record_ = evidence(FFT).of("cost")[0]
    ran = tuple(replace(record_, key=key(trial)) for trial in plan[1:])
    found = said(list(SECTION.render(Evidence("small", {"cost": ran}))))

    assert "forward and backward of a layer (1 of 15: train width=384 tokens=64)." in found
    whole = (*ran, replace(record_, key=key(plan[0])))
    found = said(list(SECTION.render(Evidence("small", {"cost": whole}))))
    assert "Not measured yet" not in found


def test_a_crossing_point_of_a_poor_model_is_marked() -> None:
    poor = [cell for t in crossing_tables(FFT, slow=9.0) for row in t.rows for cell in row[1:]]
    good = [cell for t in crossing_tables(FFT) for row in t.rows for cell in row[1:]]

    assert any(cell.endswith("(?)") for cell in poor)
    assert not any(cell.endswith("(?)") for cell in good)


def measured(found: Record, factor: float) -> Record:
    """A record whose FourierFTs took another time than the model of all others says."""
    if found.trial["trial"] != "TrainTrial":
        return found
    arms_ = [
        {**arm, "seconds": [factor * s for s in arm["seconds"]]}
        if (arm["kind"], arm["path"]) == ("fourier", "auto")
        else arm
        for arm in found.result["arms"]
    ]
    return replace(found, result={**found.result, "arms": arms_})


def test_a_crossing_point_that_a_measured_median_contradicts_is_marked() -> None:
    """The path that is chosen is predicted, not fitted: the model's own errors stay 0."""
    whole = evidence(FFT)
    records = tuple(measured(found, 0.1) for found in whole.of("cost"))
    rendered = list(SECTION.render(replace(whole, files={"cost": records})))
    widths = next(b for b in rendered if isinstance(b, Table) and "64 tokens, model" in b.header)

    assert widths.rows[1][1].endswith(" (?)")
    assert "a measured median says otherwise" in said(rendered)


def test_a_crossing_point_is_marked_where_the_model_cannot_tell_the_last_place_from_1() -> None:
    study = Study(FFT, {}, {kind: Errors(9, 0.1, 0.2) for kind in ("activation", "lora")})
    place = cost_crossings.Place

    def why(*places: cost_crossings.Place, poor: tuple[str, ...] = ()) -> str:
        return cost_crossings.guessed(study, "activation", places, poor)

    assert "smaller than its own median" in why(place(1.5, 1.4), place(1.05, 1.2))
    assert why(place(1.5, 1.4), place(1.2, 1.1)) == ""
    assert why(place(1.5, 0.9), place(1.2, 1.1)) == "a measured median says otherwise"
    assert (
        why(place(1.5, 1.4), poor=("auto", "lora")) == "it hangs on what the model explains poorly"
    )
    assert why(place(1.5, 1.4), poor=("auto",)) == ""


def test_a_rank_in_between_that_is_no_slower_is_no_crossing() -> None:
    """In every round at r = 8 alone: from no rank on, up to the last."""
    whole = evidence(FFT | {"fft": 1e-8})

    def odd(found: Record) -> Record:
        if found.trial["trial"] != "TrainTrial":
            return found
        arms_ = [
            {**arm, "seconds": [1e3 * s for s in arm["seconds"]]}
            if (arm["kind"], arm["size"]) == ("lora", 8)
            else arm
            for arm in found.result["arms"]
        ]
        return replace(found, result={**found.result, "arms": arms_})

    records = tuple(map(odd, whole.of("cost")))
    rendered = list(SECTION.render(replace(whole, files={"cost": records})))
    ranks = [b for b in rendered if isinstance(b, Table) and "64 tokens, model" in b.header][1]
    assert ranks.rows[0][2] == "> 64"
    assert "from no width or rank on, up to there" in said(rendered)


def test_what_a_sign_before_a_measured_number_means_is_said_where_there_is_one() -> None:
    free = FFT | {"fft": 0.0, "route": 0.0, "activation": 0.0, "moved": 0.0, "weight": 0.0}

    assert "where the rounds disagree" in said(list(SECTION.render(evidence(FFT | {"fft": 1e-8}))))
    assert "where the rounds disagree" not in said(list(SECTION.render(evidence(free))))


def test_a_lora_grows_with_the_width_and_a_fft_does_not(blocks: list[Block]) -> None:
    assert "grows 1.00 times, LoRA r = 8 4.00 times" in said(blocks)


def test_its_pictures_can_be_drawn(blocks: list[Block]) -> None:
    figures: list[Any] = [block for block in blocks if isinstance(block, Figure)]

    assert [figure.name for figure in figures] == ["cost-steps-small", "cost-files-small"]
    assert all(drawn(figure) for figure in figures)
