"""A trial of each method on a toy: it trains, chooses, reports and is served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.images.trial import ImageTrial, PretextTrial
from experiments.text.methods import Fourier, Head, Lora, Method
from experiments.training import DIVERGED
from experiments.trial import Context, Json
from tests.experiments.images.toys import PRETEXT, context

TOY = ImageTrial(
    data="digits",
    classes=(0, 2, 4),
    rows=100,
    base=PRETEXT,
    method=Head(),
    trained_layers=1,
    rate=0.01,
    head_rate=0.01,
    seed=1,
    epochs=2,
    batch=32,
    decay=0.0,
    precision="float32",
    report=True,
    serve=False,
)
BESIDE = {"head": 0, "lora": 2 * 2 * (32 + 32), "fourier": 2 * 20}
"""Kind -> parameters beside the head: of the query and the value of one layer."""


def run(trial: ImageTrial | PretextTrial, folder: Path, shared: Path) -> Json:
    steps: list[int] = []
    found = trial.run(Context(folder, shared, folder, "cpu", lambda: steps.append(1)))
    assert len(steps) == trial.steps
    return found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.mark.parametrize(
    ("method", "rate"), [(Head(), 0.02), (Lora(2, 4.0), 0.01), (Fourier(20, 50.0), 0.1)], ids=str
)
def test_a_trial_trains_and_reports(
    method: Method, rate: float, tmp_path: Path, shared: Path
) -> None:
    found = run(replace(TOY, method=method, rate=rate, epochs=4), tmp_path, shared)
    assert found["parameters"] == BESIDE[method.kind]
    assert found["head"] == 3 * (32 + 1)
    losses = [epoch["loss"] for epoch in found["history"]]
    assert losses[-1] < losses[0]
    assert found["choose"] == max(epoch["choose"] for epoch in found["history"])
    right = [int(hit) for hit in found["right"]]
    assert found["report"]["accuracy"] == pytest.approx(sum(right) / len(right))
    assert found["report"]["accuracy"] > 0.4
    assert found["file_bytes"] > 4 * (found["parameters"] + found["head"])
    if method.kind != "head":
        assert found["delta_norm"] > 0


def test_weights_decay_as_they_are_told(tmp_path: Path, shared: Path) -> None:
    """A rate of 0.01 and a decay of 100 leave nothing of a weight but its last step."""
    losses = {}
    for decay in (0.0, 100.0):
        folder = tmp_path / str(decay)
        folder.mkdir()
        found = run(replace(TOY, decay=decay, epochs=8, batch=8), folder, shared)
        losses[decay] = found["history"][-1]["loss"]
    assert losses[100.0] > losses[0.0] + 0.1


def test_all_layers_are_adapted_where_none_is_computed_beforehand(
    tmp_path: Path, shared: Path
) -> None:
    method = Fourier(20, 50.0)
    found = run(replace(TOY, method=method, rate=0.1, trained_layers=0), tmp_path, shared)
    assert found["parameters"] == PRETEXT.layers * BESIDE["fourier"]


def test_a_trial_that_chooses_never_sees_the_test(tmp_path: Path, shared: Path) -> None:
    found = run(replace(TOY, report=False), tmp_path, shared)
    assert not {"report", "right", "file_bytes"} & set(found)


@pytest.mark.real
def test_a_fourier_trial_is_served_as_torch_answers(tmp_path: Path, shared: Path) -> None:
    method = Fourier(20, 50.0)
    found = run(replace(TOY, method=method, rate=0.1, serve=True), tmp_path, shared)
    served = found["onnxruntime"]
    assert served["answers"] == len(found["right"])
    assert served["relative_error"] < 1e-5
    assert served["torch"] == pytest.approx(found["report"]["accuracy"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter.fft", "checkpoint.pt"]


def test_logits_that_are_not_finite_end_a_run(tmp_path: Path, shared: Path) -> None:
    """The first step's rate is 0, the second one's sends LoRA beyond all numbers."""
    broken = replace(TOY, method=Lora(2, 4.0), rate=1e30, batch=1000, report=False)
    found = broken.run(Context(tmp_path, shared, tmp_path, "cpu", lambda: None))
    assert found["diverged"] == 2
    assert found["history"][1]["loss"] is not None
    assert found["history"][1]["choose"] == DIVERGED


def test_a_reporting_trial_that_diverged_in_its_first_epoch_has_a_result_and_no_report(
    tmp_path: Path, shared: Path
) -> None:
    broken = replace(TOY, method=Lora(2, 4.0), rate=1e30, batch=10)
    found = broken.run(Context(tmp_path, shared, tmp_path, "cpu", lambda: None))
    assert found["diverged"] == 1
    assert not {"report", "right", "file_bytes"} & found.keys()


def test_a_base_whose_result_was_forgotten_is_trained_anew(tmp_path: Path, shared: Path) -> None:
    trial = PretextTrial(PRETEXT)
    for name in ("first", "forgotten"):
        (tmp_path / name).mkdir()
        run(trial, tmp_path / name, shared)


def test_a_base_whose_training_was_killed_goes_on(tmp_path: Path) -> None:
    trial = PretextTrial(replace(PRETEXT, epochs=3))
    steps: list[int] = []

    def killed() -> None:
        steps.append(1)
        if len(steps) == 2:
            raise KeyboardInterrupt

    here = context(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trial.run(replace(here, step=killed))
    found = trial.run(replace(here, step=killed))
    assert len(steps) == len(found["history"]) == 3


def test_the_base_reports_on_its_own_classes(tmp_path: Path) -> None:
    found = PretextTrial(PRETEXT).run(context(tmp_path))
    assert len(found["history"]) == PRETEXT.epochs
    assert 0 <= found["report"]["accuracy"] <= 1
    assert found["images"] > 0
