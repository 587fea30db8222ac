"""The Trainer of transformers: adapter.fft beside every checkpoint, and no base in any.

    trainer = Trainer(attach(model, config), args, callbacks=[AdapterCallback()], ...)
    trainer.train()                                      # output_dir/adapter.fft
    trainer.train(resume_from_checkpoint=True)

Without the callback the Trainer works as well; its checkpoints then hold the whole model.
"""

from __future__ import annotations

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
        self._trimmed: tuple[_Trimmed, RemovableHandle] | None = None

    def on_train_begin(self, _args: Any, _state: Any, control: Any, **given: Any) -> None:
        """Watch for the Trainer to save.

        Raises:
            UsageError: The model has no such adapter.
        """
        root, attached = found_state(given["model"])
        named(attached, self.name)
        self._release()
        trimmed = _Trimmed(control)
        self._trimmed = trimmed, root.register_state_dict_post_hook(trimmed)

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
            self._trimmed[1].remove()
        self._trimmed = None


class _Trimmed:
    """A hook of state_dict: while a Trainer saves a checkpoint, the base is left out."""

    def __init__(self, control: Any) -> None:
        """Takes the Trainer's control, which says when it saves."""
        self._control = control

    def __call__(
        self, module: nn.Module, state_dict: MutableMapping[str, Any], prefix: str, _: Any
    ) -> None:
        if self._control.should_save:
            trim(module, state_dict, prefix)
