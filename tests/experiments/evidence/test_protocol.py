"""What the page says of how it was done follows the trials' fields and the code's constants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments import fixed
from experiments.catalogue import EXPERIMENTS
from experiments.evidence.differences import INTERVALS
from experiments.evidence.evidence import collected
from experiments.evidence.protocol import protocol
from experiments.evidence.trainings import Group, groups
from experiments.statistics import RESAMPLES
from experiments.trial import Json
from tests.experiments.evidence.synthetic import SKILL, fill


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Group]:
    folder: Path = tmp_path_factory.mktemp("results")
    fill(folder, EXPERIMENTS["glue"], "small", SKILL)
    return [group for group in groups(collected(folder)[0].of("glue")) if group.runs]


def with_method(found: list[Group], kind: str, **fields: object) -> list[Group]:
    def method(group: Group) -> Json:
        return group.method | (fields if group.method["kind"] == kind else {})

    return [replace(group, method=method(group)) for group in found]


def with_trials(found: list[Group], **fields: object) -> list[Group]:
    return [
        replace(group, runs=tuple(replace(run, trial=run.trial | fields) for run in group.runs))
        for group in found
    ]


def test_constants_are_stated(found: list[Group]) -> None:
    said = protocol(found)
    assert f"a linear rise over {100 * fixed.WARM_UP:g} % of the steps" in said
    assert f"Dropout of attention is {fixed.ATTENTION_DROPOUT:g} for every method" in said
    assert f"({RESAMPLES:,} resamples)" in INTERVALS


def test_each_methods_own_settings_are_stated(found: list[Group]) -> None:
    changed = with_method(found, "lora", alpha=24.0, dropout=0.1)
    assert "LoRA r = 8: alpha 24, dropout 0.1" in protocol(changed)
    assert "alpha 75; coefficients start at zero; each seed draws its entries anew" in protocol(
        with_method(found, "fourier", alpha=75.0)
    )


def test_what_full_means_and_the_pooler_follow_the_size(found: list[Group]) -> None:
    assert "every weight and bias of the last 3 layers, neither embeddings nor pooler" in protocol(
        found
    )
    whole = with_trials(with_method(found, "full", layers=0), trained_layers=0)
    said = protocol(whole)
    assert "Full fine-tuning: trains every weight and bias of the model, embeddings and" in said
    assert "a pooler are frozen, but for full fine-tuning" in said


def test_head_rates_and_who_tunes_its_own_are_stated(found: list[Group]) -> None:
    assert "is fixed beforehand: 0.001 on every task." in protocol(found)
    assert "The head alone tunes its own rate" in protocol(found)
    others = [group for group in found if group.method["kind"] != "head"]
    assert "tunes its own" not in protocol(others)
    mixed = [*with_trials(others[:1], head_rate=0.002), *others[1:]]
    assert "0.001 or 0.002 on MRPC, 0.001 on STS-B" in protocol(mixed)


def test_grids_that_are_not_equally_fine_are_said_to_be_so(found: list[Group]) -> None:
    found = [replace(group, tried=group.tried[:4]) for group in found]
    assert "FourierFT 0.03, 0.06, 0.12, 0.24, each 2 times the one before, 8 in all" in protocol(
        found
    )
    assert "not equally fine" not in protocol(found)

    def wider(group: Group) -> Group:
        if group.method["kind"] != "lora":
            return group
        rates = (3e-4, 1e-3, 3e-3, 1e-2)
        tried = zip(group.tried, rates, strict=True)
        return replace(
            group, tried=tuple(replace(r, trial=r.trial | {"rate": rate}) for r, rate in tried)
        )

    said = protocol([wider(group) for group in found])
    assert "LoRA 0.0003, 0.001, 0.003, 0.01, each 3 or 3.3 times the one before, 33 in all" in said
    assert "The grids are not equally fine" in said


def test_what_was_fixed_beforehand_is_stated_with_its_values(found: list[Group]) -> None:
    assert "alpha 150, n = 600 and r = 8 were fixed beforehand." in protocol(found)
    several = [*with_method(found[:], "fourier", alpha=75.0, n=50), *found]
    assert "alpha 75 or 150, n = 50 or 600 and r = 8 were fixed" in protocol(several)


def test_where_only_the_head_has_reported_no_fact_is_empty(found: list[Group]) -> None:
    said = protocol([group for group in found if group.method["kind"] == "head"])
    assert "fixed beforehand" not in said
    assert "beside every other method" not in said


def test_trials_that_are_compared_and_ran_with_different_code_are_told(
    found: list[Group],
) -> None:
    assert "different training code" not in protocol(found)

    def other(group: Group) -> Group:
        environment = group.tried[0].environment
        older = replace(group.tried[0], environment=environment | {"code": "89abcdef"})
        unknown = {name: value for name, value in environment.items() if name != "code"}
        rest = replace(group.tried[1], environment=unknown)
        return replace(group, tried=(older, rest, *group.tried[2:]))

    lora = [group for group in found if (group.task, group.method["kind"]) == ("mrpc", "lora")]
    said = protocol([*(group for group in found if group not in lora), *map(other, lora)])
    assert "**What is compared ran with different training code** (digests)." in said
    assert "LoRA r = 8: 0123abcd, 89abcdef and 1 of unknown code" in said
    assert "FourierFT n = 600: 0123abcd" in said


def test_unequal_numbers_of_rates_are_in_bold(found: list[Group]) -> None:
    assert "not tried equally often" not in protocol(found)
    fewer = [replace(found[0], tried=found[0].tried[:2]), *found[1:]]
    assert "**The methods were not tried equally often.**" in protocol(fewer)


def test_the_reporting_split_reports_once_a_trial(found: list[Group]) -> None:
    assert "test reports, once a trial; nothing is chosen on it." in protocol(found)
