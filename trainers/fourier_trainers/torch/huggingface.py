"""The Trainer of transformers: adapter.fft beside every checkpoint, and no base in any.

    callbacks = [AdapterCallback(), WatchCallback()]
    trainer = Trainer(attach(model, config), args, callbacks=callbacks, ...)
    trainer.train()                                      # output_dir/adapter.fft
    trainer.train(resume_from_checkpoint=True)

Without the callback the Trainer works as well; its checkpoints then hold the whole model.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final

from torch import nn
from torch.utils.hooks import RemovableHandle

import fourier_format
from fourier_format.errors import DependencyMissingError, Violation
from fourier_trainers.torch.capturing import capture
from fourier_trainers.torch.checkpoints import trim
from fourier_trainers.torch.state import found_state, named
from fourier_trainers.torch.watching import Watch, watch

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise DependencyMissingError(
        Violation(
            "E-DEPENDENCY-MISSING",
            "transformers",
            "this callback is one of transformers' Trainer, which is not installed",
            advice="install it with: pip install transformers accelerate",
        )
    ) from error


_SAVING: Final = "_save_checkpoint"
"""The Trainer's method that saves a checkpoint, and nothing else."""


class AdapterCallback(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Writes the adapter, and keeps the base out of the Trainer's checkpoints.

    Each checkpoint holds coefficients, heads and biases in place of the model, the optimizer and
    what else a Trainer resumes from, and the adapter; the one in the output directory is that of
    the model as the training leaves it, the best one under `load_best_model_at_end`.

    Under the Trainer's own FSDP, checkpoints hold the whole model, as those ask for all of it.
    """

    def __init__(self, name: str | None = None, filename: str = "adapter.fft") -> None:
        """Takes what to write.

        Args:
            name: The adapter; None means the only one, or the active one.
            filename: What the file is called; .fft.h5 makes it HDF5.
        """
        self.name: Final = name
        self.filename: Final = filename
        self._trimmed: RemovableHandle | None = None

    def on_train_begin(self, _args: Any, _state: Any, _control: Any, **given: Any) -> None:
        """Watch for the Trainer to save.

        Raises:
            UsageError: The model has no such adapter.
        """
        root, attached = found_state(given["model"])
        named(attached, self.name)
        self._release()
        self._trimmed = root.register_state_dict_post_hook(_Trimmed(self))

    def on_save(self, args: Any, state: Any, _control: Any, **given: Any) -> None:
        """Write the adapter beside the checkpoint."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        self._write(given["model"], folder, args)

    def on_train_end(self, args: Any, _state: Any, _control: Any, **given: Any) -> None:
        """Write the adapter that came of the training."""
        self._release()
        folder = Path(args.output_dir)
        if args.should_save:
            folder.mkdir(parents=True, exist_ok=True)
        self._write(given["model"], folder, args)

    def _write(self, model: nn.Module, folder: Path, args: Any) -> None:
        adapter = capture(model, self.name)  # on every rank: parameters may be sharded
        if args.should_save and folder.is_dir():
            fourier_format.save(adapter, folder / self.filename, overwrite=True)

    def _release(self) -> None:
        if self._trimmed is not None:
            self._trimmed.remove()
        self._trimmed = None


class WatchCallback(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Watches the training every `logging_steps`, and prints what it found at the end (`watch`).

    Attributes:
        watched: The `Watch`, from the beginning of the training on.
    """

    def __init__(self, name: str | None = None, logger: Any = None) -> None:
        """Takes what to watch.

        Args:
            name: The adapter; None means the only one, or the active one.
            logger: Where figures go besides, as `watch` takes it.
        """
        self.name: Final = name
        self.logger: Final = logger
        self.watched: Watch | None = None

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **given: Any) -> None:
        """Begin.

        Raises:
            UsageError: The model has no such adapter, or the logger is of no known sort.
        """
        logger = self.logger if state.is_world_process_zero else None
        steps = state.max_steps if state.max_steps > 0 else None
        self.watched = watch(given["model"], self.name, planned_steps=steps, logger=logger)

    def on_pre_optimizer_step(self, args: Any, state: Any, _control: Any, **given: Any) -> None:
        """Look at gradients and coefficients, on every rank: parameters may be sharded."""
        every = max(1, math.ceil(args.logging_steps))
        if self.watched is not None and state.global_step % every == 0:
            losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
            self.watched.observe(
                state.global_step,
                loss=losses[-1] if losses else None,
                optimizer=_plain(given.get("optimizer")),
            )

    def on_train_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Print the advice."""
        if self.watched is not None and state.is_world_process_zero:
            print(self.watched)  # noqa: T201 - what it is for


def _plain(optimizer: Any) -> Any:
    """Returns the optimizer that Accelerate has wrapped."""
    return getattr(optimizer, "optimizer", optimizer)


class _Trimmed:
    """A hook of state_dict: while a Trainer saves a checkpoint, the base is left out.

    A Trainer tells no callback when it begins to save, nor that a run has failed, after which a
    model is saved whole. So the hook looks at who calls it.
    """

    def __init__(self, callback: AdapterCallback) -> None:
        """Takes the callback, which the Trainer has."""
        self._callback = callback

    def __call__(
        self, module: nn.Module, state_dict: MutableMapping[str, Any], prefix: str, _: Any
    ) -> None:
        if self._is_in_checkpoint():
            trim(module, state_dict, prefix)

    def _is_in_checkpoint(self) -> bool:
        """Whether a Trainer that has the callback is saving a checkpoint."""
        frame = inspect.currentframe()
        while frame is not None:
            if frame.f_code.co_name == _SAVING:
                handler = getattr(frame.f_locals.get("self"), "callback_handler", None)
                if self._callback in getattr(handler, "callbacks", ()):
                    return True
            frame = frame.f_back
        return False
