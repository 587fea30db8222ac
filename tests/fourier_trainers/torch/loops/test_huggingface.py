from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

import fourier_format
from fourier_format.errors import UsageError
from fourier_trainers.torch import FourierConfig, attach, capture, load_adapter, trained_state
from fourier_trainers.torch.huggingface import AdapterCallback, WatchCallback
from tests.fourier_trainers.torch.loops import contents, sentences, small

CONFIG = FourierConfig(
    target_modules=("query", "value"), n=60, alpha=30.0, modules_to_save=("classifier",)
)
ROWS, STEPS, AT = 40, 8, 3
"""Five batches an epoch: checkpoints at steps 3 and 6 lie within the first and second one."""


def attached() -> Any:
    return attach(sentences.bert(), CONFIG)


def trainer(folder: Path, *callbacks: TrainerCallback, model: Any = None, **given: Any) -> Trainer:
    arguments = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 8,
        "max_steps": STEPS,
        "learning_rate": 0.05,
        "save_strategy": "steps",
        "save_steps": AT,
        "logging_steps": 1,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    return Trainer(
        attached() if model is None else model,
        TrainingArguments(**arguments | given),
        train_dataset=sentences.Pairs(ROWS),
        eval_dataset=sentences.Pairs(8),
        callbacks=list(callbacks),
    )


class Interrupt(TrainerCallback):  # type: ignore[misc]
    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        if state.global_step == AT + 1:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trainer]:
    folder = tmp_path_factory.mktemp("run")
    trained = trainer(folder, AdapterCallback())
    trained.train()
    return folder, trained


@pytest.fixture
def warnings_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Any:
    """What transformers logs as a warning or worse; its logger does not propagate by itself."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    return lambda: [r.message for r in caplog.records if r.levelno >= logging.WARNING]


def test_the_rows_are_those_of_mrpc() -> None:
    if not sentences.MRPC.exists():
        pytest.skip(f"{sentences.MRPC} is absent; the other tests train on their own pairs")

    assert {row["labels"] for row in sentences.Pairs(ROWS).rows} == {0, 1}


def test_training_moves_what_is_trained_and_nothing_else(run: tuple[Path, Trainer]) -> None:
    before, after = attached().state_dict(), run[1].model.state_dict()

    changed = {key for key in before if not torch.equal(before[key], after[key])}

    assert changed == trained_state(run[1].model).keys()


def test_the_adapter_lies_in_the_output_directory_and_beside_each_checkpoint(
    run: tuple[Path, Trainer],
) -> None:
    folder, trained = run

    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("adapter.fft"))

    assert found == ["adapter.fft", *(f"checkpoint-{step}/adapter.fft" for step in (3, 6, 8))]
    last = (folder / "adapter.fft").read_bytes()
    assert last == fourier_format.to_bytes(capture(trained.model))
    assert last == (folder / "checkpoint-8/adapter.fft").read_bytes()
    assert last != (folder / "checkpoint-3/adapter.fft").read_bytes()


def test_the_adapter_gives_the_trained_model(run: tuple[Path, Trainer]) -> None:
    folder, trained = run
    rows = {
        key: torch.tensor([row[key] for row in sentences.Pairs(8).rows])
        for key in ("input_ids", "attention_mask")
    }

    model = load_adapter(sentences.bert(), folder / "adapter.fft").eval()

    with torch.no_grad():
        assert torch.equal(model(**rows).logits, trained.model.eval()(**rows).logits)


def test_no_file_of_a_checkpoint_holds_a_tensor_of_the_base(run: tuple[Path, Trainer]) -> None:
    base = contents.base_tensors(attached())
    trained = trained_state(run[1].model)

    assert len(base) == 16
    for step in (3, 6, 8):
        checkpoint = run[0] / f"checkpoint-{step}"
        assert contents.holding_base(checkpoint, base) == []
        assert load_file(checkpoint / "model.safetensors").keys() == trained.keys()
        assert (checkpoint / "optimizer.pt").exists()


def losses(trained: Trainer, after: int) -> list[float]:
    """Return the loss of each step after one."""
    history = trained.state.log_history
    return [entry["loss"] for entry in history if "loss" in entry and entry["step"] > after]


@pytest.mark.parametrize("step", [3, 6])
def test_training_resumed_within_an_epoch_goes_on_to_the_bit(
    run: tuple[Path, Trainer], tmp_path: Path, step: int, warnings_said: Any
) -> None:
    folder, whole = run
    resumed = trainer(tmp_path, AdapterCallback())

    resumed.train(resume_from_checkpoint=str(folder / f"checkpoint-{step}"))

    assert small.same_bits(trained_state(resumed.model), trained_state(whole.model))
    assert (tmp_path / "adapter.fft").read_bytes() == (folder / "adapter.fft").read_bytes()
    assert losses(resumed, step) == losses(whole, step)
    assert len(losses(resumed, step)) == STEPS - step
    assert warnings_said() == []


def test_the_last_checkpoint_is_found_by_itself(tmp_path: Path, run: tuple[Path, Trainer]) -> None:
    trainer(tmp_path, AdapterCallback(), max_steps=AT).train()
    resumed = trainer(tmp_path, AdapterCallback())

    resumed.train(resume_from_checkpoint=True)

    assert resumed.state.global_step == STEPS
    assert trained_state(resumed.model).keys() == trained_state(run[1].model).keys()


def test_checkpoints_resume_without_the_callback_too(
    run: tuple[Path, Trainer], tmp_path: Path, warnings_said: Any
) -> None:
    resumed = trainer(tmp_path)

    resumed.train(resume_from_checkpoint=str(run[0] / "checkpoint-6"))

    assert small.same_bits(trained_state(resumed.model), trained_state(run[1].model))
    assert warnings_said() == []


def test_without_the_callback_checkpoints_are_whole_and_resume(
    run: tuple[Path, Trainer], tmp_path: Path
) -> None:
    plain = trainer(tmp_path, Interrupt())
    with pytest.raises(KeyboardInterrupt):
        plain.train()
    held = load_file(tmp_path / "checkpoint-3/model.safetensors")
    assert held.keys() == plain.model.state_dict().keys()

    resumed = trainer(tmp_path)
    resumed.train(resume_from_checkpoint=True)

    assert small.same_bits(trained_state(resumed.model), trained_state(run[1].model))


def test_the_best_model_is_loaded_at_the_end_and_is_what_is_written(
    tmp_path: Path, warnings_said: Any
) -> None:
    scores = iter([1.0, 3.0, 2.0, 2.0])
    trained = trainer(
        tmp_path,
        AdapterCallback(),
        eval_strategy="steps",
        eval_steps=2,
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="score",
    )
    trained.compute_metrics = lambda _: {"score": next(scores)}
    trained.train()

    best = tmp_path / "checkpoint-4"
    assert trained.state.best_model_checkpoint == str(best)
    assert (tmp_path / "adapter.fft").read_bytes() == (best / "adapter.fft").read_bytes()
    assert small.same_bits(trained_state(trained.model), load_file(best / "model.safetensors"))
    assert warnings_said() == []


def test_after_training_the_model_saves_as_ever(run: tuple[Path, Trainer], tmp_path: Path) -> None:
    run[1].save_model(str(tmp_path))

    assert load_file(tmp_path / "model.safetensors").keys() == run[1].model.state_dict().keys()


def test_after_an_interruption_the_model_saves_as_ever(tmp_path: Path) -> None:
    interrupted = trainer(tmp_path, AdapterCallback(), Interrupt())
    whole = interrupted.model.state_dict().keys()

    with pytest.raises(KeyboardInterrupt):
        interrupted.train()

    assert (tmp_path / "checkpoint-3/adapter.fft").exists()
    assert interrupted.model.state_dict().keys() == whole


@pytest.mark.parametrize("step", ["evaluate", "_save_scaler"])
def test_after_a_checkpoint_that_failed_the_model_saves_as_ever(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluation comes between the decision to save and the saving; a disk may be full in it."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    failed = trainer(tmp_path / "a", AdapterCallback(), eval_strategy="steps", eval_steps=AT)
    whole = failed.model.state_dict().keys()
    monkeypatch.setattr(failed, step, fail)
    with pytest.raises(OSError, match="no space left"):
        failed.train()

    failed.save_model(str(tmp_path / "b"))
    assert load_file(tmp_path / "b/model.safetensors").keys() == whole
    trainer(tmp_path / "c", model=failed.model, max_steps=AT).train()
    assert load_file(tmp_path / "c/checkpoint-3/model.safetensors").keys() == whole


class WithLoss(nn.Module):
    """A model that is not one of transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small.Classifier(dropout=0.2)

    def forward(self, input_ids: Any, labels: Any, **_: Any) -> dict[str, Any]:
        logits = self.inner(input_ids % small.VOCABULARY)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def test_a_model_of_another_sort_is_trained_and_resumed_as_well(tmp_path: Path) -> None:
    def made() -> Any:
        torch.manual_seed(0)
        return attach(WithLoss(), small.CONFIG)

    whole = trainer(tmp_path / "a", AdapterCallback(), model=made())
    whole.train()
    resumed = trainer(tmp_path / "b", AdapterCallback(), model=made())
    resumed.train(resume_from_checkpoint=str(tmp_path / "a/checkpoint-6"))

    assert small.same_bits(trained_state(resumed.model), trained_state(whole.model))
    assert contents.holding_base(tmp_path / "a", contents.base_tensors(made())) == []
    assert (tmp_path / "b/adapter.fft").read_bytes() == (tmp_path / "a/adapter.fft").read_bytes()


def test_only_what_is_asked_for_is_written_and_under_its_name(tmp_path: Path) -> None:
    model = attach(attach(sentences.bert(), CONFIG, "first"), CONFIG, "second")

    trainer(tmp_path, AdapterCallback("second", "mine.fft"), model=model, max_steps=1).train()

    assert (tmp_path / "mine.fft").read_bytes() == fourier_format.to_bytes(capture(model, "second"))
    assert not list(tmp_path.rglob("adapter.fft"))


@pytest.mark.parametrize("name", [None, "other"])
def test_a_model_that_has_no_such_adapter_is_refused_before_it_trains(
    tmp_path: Path, name: str | None
) -> None:
    model = attached() if name else sentences.bert()

    with pytest.raises(UsageError, match="adapter"):
        trainer(tmp_path, AdapterCallback(name), model=model).train()


def test_a_watch_observes_every_logging_step_and_prints_its_advice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[int, dict[str, float]] = {}
    watching = WatchCallback(logger=lambda figures, step: seen.update({step: dict(figures)}))

    trainer(tmp_path, watching, logging_steps=2).train()

    assert list(seen) == [0, 2, 4, 6]
    assert "fourier/loss" in seen[6]
    assert all(seen[6][key] > 0 for key in seen[6] if key.startswith("fourier/gradient/"))
    assert watching.watched is not None
    assert str(watching.watched) in capsys.readouterr().out
    (history, *_) = watching.watched._histories.values()
    assert history[0].learning_rate == pytest.approx(0.05)
