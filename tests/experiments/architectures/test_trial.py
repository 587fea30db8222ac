"""One small trial of each sort that needs no data sets but what scikit-learn brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.architectures.examples import IGNORED, splits
from experiments.architectures.experiment import plan
from experiments.architectures.models import ARCHITECTURES, Sort
from experiments.architectures.shapes import Shape
from experiments.architectures.trial import ArchitectureTrial
from experiments.trial import Context, Json, Options, Results, Trial, key


class Nothing:
    def get(self, trial: Trial) -> Json | None:  # noqa: ARG002
        return None


NOTHING: Results = Nothing()


@pytest.mark.real
@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_a_trial_trains_converts_and_serves(name: str, tmp_path: Path) -> None:
    trial = ArchitectureTrial(
        name, Shape(1, 32), (), 20, 50.0, 0.1, 1e-2, 2, 8, 40, 12, 28, "digits", 0
    )
    steps: list[int] = []
    context = Context(tmp_path, tmp_path, tmp_path, "cpu", lambda: steps.append(1))

    found = trial.run(context)

    assert len(steps) == trial.steps
    assert found["parameters"] == 20 * found["targets"]
    assert found["after"] != found["after_without_delta"] != found["before"]
    assert found["merged"]["answers"] == 12
    assert found["merged"]["relative_error"] < 1e-5
    if name == "resnet":
        assert found["live"] == {"refused": ["E-CONVERSION-UNSUPPORTED"]}
    else:
        assert found["live"]["adapted"]["answers"] == found["live"]["base"]["answers"] == 6
        assert found["live"]["adapted"]["relative_error"] < 1e-5
        assert found["live"]["base"]["relative_error"] < 1e-5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter.fft", "checkpoint.pt"]


@pytest.fixture
def restaurants(tmp_path: Path) -> Path:
    """Returns a folder with 40 meanings in each of E2E's files, of four sentences each."""
    (tmp_path / "e2e").mkdir()
    meanings = [f"name[{k}], area[{('riverside', 'city centre')[k % 2]}]" for k in range(40)]
    rows = [f'"{text}",{text[5:7]} is a {turn}.' for turn in "abcd" for text in meanings]
    for name in ("devset", "testset_w_refs"):
        (tmp_path / "e2e" / f"{name}.csv").write_text("\n".join(["mr,ref", *rows]), "utf-8")
    return tmp_path


def test_a_text_in_bytes_is_labelled_with_what_follows(restaurants: Path) -> None:
    found = splits("decoder", Shape(1, 64), restaurants, "digits", 4, 2, 60).train

    tokens, labels = found.inputs["input_ids"][0].tolist(), found.labels[0].tolist()
    assert tokens[0] == 1
    assert bytes(token - 3 for token in tokens[1:8]).startswith(b"name[")
    count = sum(found.inputs["attention_mask"][0].tolist())
    assert labels[: count - 1] == tokens[1:count]
    assert set(labels[count - 1 :]) == {IGNORED}


@pytest.mark.parametrize("sort", ["decoder", pytest.param("encoder", marks=pytest.mark.real)])
def test_what_chooses_has_no_meaning_that_trains(sort: Sort, restaurants: Path) -> None:
    """A file's line k has the meaning k % 40; all rows are asked for, and no fewer will do."""
    found = splits(sort, Shape(1, 64), restaurants, "digits", 144, 16, 60)

    trained, choosing = ({line % 40 for line in part.ids} for part in (found.train, found.choose))
    assert (len(trained), len(choosing)) == (36, 4)
    assert not trained & choosing


@pytest.mark.parametrize(
    ("counts", "told"), [((145, 1), "144 rows can train, not 145"), ((1, 17), "16 rows can choose")]
)
def test_fewer_rows_than_are_asked_for_are_refused(
    counts: tuple[int, int], told: str, restaurants: Path
) -> None:
    with pytest.raises(SystemExit, match=told):
        splits("decoder", Shape(1, 64), restaurants, "digits", *counts, 60)
    with pytest.raises(SystemExit, match=r"digits: \d+ rows can train, not 4000"):
        splits("image", Shape(1, 32), restaurants, "digits", 4000, 1, 8)


@pytest.mark.parametrize("size", ["smoke", "small", "medium", "paper"])
def test_e2e_has_as_many_rows_as_each_size_asks_for(size: str) -> None:
    """The devset's, of whose meanings a tenth chooses; encoders read those of two areas."""
    there = {"encoder": (3072, 381), "decoder": (4168, 504)}
    for trial in plan(Options(size), NOTHING).trials:
        assert isinstance(trial, ArchitectureTrial)
        sort = ARCHITECTURES[trial.architecture].sort
        train, choose = there.get(sort, (54_000, 6_000))
        assert trial.rows <= train
        assert trial.answered <= choose


def test_images_choose_and_report_on_as_many_as_are_asked_for(tmp_path: Path) -> None:
    found = splits("image", Shape(1, 32), tmp_path, "digits", 90, 40, 8)
    assert [len(part) for part in (found.train, found.choose, found.report)] == [90, 40, 40]
    assert not set(found.train.ids) & set(found.choose.ids)


def test_a_set_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"testset_w_refs\.csv is missing: give the folder"):
        splits("decoder", Shape(1, 64), tmp_path, "digits", 4, 2, 40)


@pytest.mark.parametrize("size", ["smoke", "small", "medium", "paper"])
def test_every_size_is_configured(size: str) -> None:
    trials = plan(Options(size), NOTHING).trials
    assert trials
    assert len({key(trial) for trial in trials}) == len(trials)
    assert len({trial.label for trial in trials}) == len(trials)


def test_one_model_for_all_architectures_is_refused() -> None:
    with pytest.raises(SystemExit, match="models stand in configs"):
        plan(Options("small", "bert"), NOTHING)
