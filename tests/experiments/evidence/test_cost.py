"""The section on cost says what its numbers say: checked on times that known costs made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from experiments.cost import work
from experiments.cost.arms import Arm, arms
from experiments.cost.model import predicted
from experiments.evidence.blocks import Block, Figure, Table
from experiments.evidence.evidence import Evidence
from experiments.evidence.plots import drawn
from experiments.evidence.sections.cost import SECTION
from experiments.records import Record
from experiments.trial import Json

SIZES, RANKS, WIDTHS, TOKENS = [200, 1000, 5000], [1, 8, 64], (256, 512, 1024), (64, 512)
FFT = {"base": 1e-5, "lora": 5e-5, "activation": 1e-4, "weight": 1e-4, "gemm": 1e-11,
       "thin": 3e-11, "fft": 1e-10, "route": 1e-11, "moved": 1e-10}  # fmt: skip


def record(trial: str, fields: Json, result: Json) -> Record:
    label = f"{trial} {' '.join(f'{k}={v}' for k, v in fields.items() if isinstance(v, int))}"
    environment = {"device": "cpu", "threads": 2, "versions": {}}
    common = {"trial": trial, "sizes": SIZES, "ranks": RANKS, "rounds": 3}
    return Record(label, label, label, 3, common | fields, result, 1.0, environment)


def step(arm: Arm, width: int, tokens: int, costs: dict[str, float]) -> Json:
    plan = ["activation" if arm.path == "auto" else arm.path] * 3
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
        "plan": plan if arm.kind == "fourier" else [],
        "seconds": [0.9 * seconds, seconds, 1.2 * seconds],
        "bytes": {
            "parameters": held,
            "gradients": held,
            "states": 2 * held,
            "shared": 100,
            "saved": 4 * width * tokens,
            "peak": 8 * width * tokens + held,
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
    return {"jobs": jobs, "base_bytes": 10, "merged_bytes": 10, "same_nodes": True}


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
            {"arms": [step(arm, width, tokens, costs) for arm in arms(SIZES, RANKS)]},
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
    assert times.rows[0][-1] == f"{ours / lora:.2f}"


@pytest.mark.parametrize(
    ("costs", "sentence"),
    [
        (FFT | {"fft": 1e-8}, "It is slower everywhere."),
        (FFT | {"fft": 0.0, "route": 0.0, "activation": 0.0, "moved": 0.0}, "It is not slower at"),
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


def test_what_serving_needs_is_counted_by_batches(blocks: list[Block]) -> None:
    assert "a Run a row, in 3 of 3 batches, than fed factors in 0." in said(blocks)
    row = table(blocks, "width, rows x tokens").rows[0]
    assert row[2:] == ["1.20", "1.10", "1.20", "4.00", "1.10"]


def test_a_lora_grows_with_the_width_and_a_fft_does_not(blocks: list[Block]) -> None:
    assert "grows 1.00 times, LoRA r = 8 4.00 times" in said(blocks)


def test_its_pictures_can_be_drawn(blocks: list[Block]) -> None:
    figures: list[Any] = [block for block in blocks if isinstance(block, Figure)]

    assert [figure.name for figure in figures] == ["cost-steps-small", "cost-files-small"]
    assert all(drawn(figure) for figure in figures)
