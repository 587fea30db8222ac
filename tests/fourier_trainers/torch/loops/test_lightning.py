from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fourier_format
from fourier_trainers.torch import capture, parameter_groups, trained_state
from fourier_trainers.torch.lightning import AdapterCallback, WatchCallback
from tests.fourier_trainers.torch.loops import contents, small

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own dependencies' deprecations, at import
    from lightning import LightningModule, Trainer
    from lightning.pytorch.callbacks import Callback, ModelCheckpoint

BATCHES, STEPS, AT = 6, 10, 3
pytestmark = pytest.mark.filterwarnings(
    r"ignore:`isinstance\(treespec, LeafSpec\)`:FutureWarning",
    "ignore:.*does not have many workers",
    "ignore:.*The number of training batches",
    "ignore:The dirpath has changed",
)


class Module(LightningModule):  # type: ignore[misc]
    """As a user writes it; the norm is trained without an adapter, beside the attached model."""

    def __init__(self, dropout: float = 0.3, *, late: bool = False) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.norm = nn.LayerNorm(2)
        self.dropout = dropout
        if not late:
            self.model = small.attached(dropout)

    def configure_model(self) -> None:
        if not hasattr(self, "model"):
            self.model = small.attached(self.dropout)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        tokens, labels = batch
        return nn.functional.cross_entropy(self.norm(self.model(tokens)), labels)

    def test_step(self, batch: list[Tensor]) -> None:
        tokens, _labels = batch
        self.outputs = self.model(tokens)

    def configure_optimizers(self) -> Any:
        groups = [*parameter_groups(self.model, lr=0.05), {"params": self.norm.parameters()}]
        return torch.optim.AdamW(groups)


class Loader:
    """Batches that go on where they were left, as Lightning asks of loaders."""

    def __init__(self) -> None:
        self.done = self.start = 0

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        first, self.start = self.start, 0
        for number, batch in zip(range(BATCHES), small.batches(), strict=False):
            if number >= first:
                self.done = number + 1
                yield batch

    def state_dict(self) -> dict[str, int]:
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start = state["done"] % BATCHES


class Random(Callback):  # type: ignore[misc]
    """Dropout's random numbers, which Lightning does not save."""

    def __init__(self) -> None:
        self.saved: Tensor | None = None

    def state_dict(self) -> dict[str, Tensor]:
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.saved = state["torch"]

    def on_train_batch_start(self, *_: Any) -> None:
        if self.saved is not None:
            torch.set_rng_state(self.saved)
        self.saved = None


def trainer(folder: Path, *callbacks: Callback, steps: int = STEPS) -> Trainer:
    saving = ModelCheckpoint(dirpath=folder / "saved", every_n_train_steps=AT, save_top_k=-1)
    return Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        max_steps=steps,
        callbacks=[Random(), saving, *callbacks],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Module]:
    folder = tmp_path_factory.mktemp("run")
    module = Module()
    trainer(folder, AdapterCallback()).fit(module, Loader())
    return folder, module


def checkpoint(folder: Path, step: int = AT) -> Path:
    (found,) = (folder / "saved").glob(f"*step={step}.ckpt")
    return found


def test_the_adapter_is_written(run: tuple[Path, Module]) -> None:
    folder, module = run

    assert (folder / "adapter.fft").read_bytes() == fourier_format.to_bytes(capture(module))


def test_a_checkpoint_holds_nothing_of_the_base(run: tuple[Path, Module]) -> None:
    base = contents.base_tensors(small.attached())

    assert len(base) == 5
    assert contents.holding_base(run[0], base) == []
    held = torch.load(checkpoint(run[0]), weights_only=False)
    own = {"norm.weight", "norm.bias"}
    assert held["state_dict"].keys() == {f"model.{key}" for key in small.TRAINED} | own
    assert held["optimizer_states"]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("step", [3, 9])
def test_training_resumed_within_an_epoch_goes_on_to_the_bit(
    run: tuple[Path, Module], tmp_path: Path, step: int, late: Any
) -> None:
    module = Module(late=late)
    torch.manual_seed(99)

    trainer(tmp_path, AdapterCallback()).fit(
        module, Loader(), ckpt_path=checkpoint(run[0], step), weights_only=False
    )

    assert small.same_bits(module.state_dict(), run[1].state_dict())
    assert (tmp_path / "adapter.fft").read_bytes() == (run[0] / "adapter.fft").read_bytes()


def test_checkpoints_resume_without_the_callback_too(
    run: tuple[Path, Module], tmp_path: Path
) -> None:
    module = Module()

    trainer(tmp_path).fit(module, Loader(), ckpt_path=checkpoint(run[0]), weights_only=False)

    assert small.same_bits(module.state_dict(), run[1].state_dict())


def test_without_the_callback_checkpoints_are_whole_and_resume(
    run: tuple[Path, Module], tmp_path: Path
) -> None:
    trainer(tmp_path / "a", steps=AT).fit(Module(), Loader())
    path = checkpoint(tmp_path / "a")
    assert torch.load(path, weights_only=False)["state_dict"].keys() == Module().state_dict().keys()

    module = Module()
    trainer(tmp_path / "b").fit(module, Loader(), ckpt_path=path, weights_only=False)

    assert small.same_bits(module.state_dict(), run[1].state_dict())


def test_a_checkpoint_is_tested_and_loaded_by_itself(
    run: tuple[Path, Module], tmp_path: Path
) -> None:
    path = checkpoint(run[0], 9)
    tested = Module(dropout=0.0)

    trainer(tmp_path).test(tested, Loader(), ckpt_path=path, weights_only=False, verbose=False)
    loaded = Module.load_from_checkpoint(path, weights_only=False)

    held = torch.load(path, weights_only=False)["state_dict"]
    for module in (tested, loaded):
        assert torch.equal(module.norm.weight, held["norm.weight"])
        state = {f"model.{key}": value for key, value in trained_state(module).items()}
        assert small.same_bits(state, {k: v for k, v in held.items() if k in state})


def test_the_adapter_goes_where_it_is_asked_to(tmp_path: Path) -> None:
    callback = AdapterCallback("default", tmp_path / "here", "mine.fft")

    trainer(tmp_path, callback, steps=1).fit(Module(), Loader())

    assert [path.name for path in (tmp_path / "here").iterdir()] == ["mine.fft"]


def test_a_watch_observes_and_prints_its_advice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watching = WatchCallback()
    trainer = Trainer(
        callbacks=[watching],
        default_root_dir=tmp_path,
        max_steps=5,
        log_every_n_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )

    trainer.fit(Module(), Loader())

    assert watching.watched is not None
    (history, *_) = watching.watched._histories.values()
    assert [seen.step for seen in history] == [0, 2, 4]
    assert all(seen.loss is not None and seen.gradient_norm for seen in history)
    assert str(watching.watched) in capsys.readouterr().out
