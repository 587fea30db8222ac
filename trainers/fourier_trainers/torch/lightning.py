"""Lightning: adapter.fft beside the logs, and no base in any checkpoint.

    trainer = lightning.Trainer(callbacks=[AdapterCallback()], ...)
    trainer.fit(module)                                  # module.model is attached
    trainer.fit(module, ckpt_path="last.ckpt")

A module is attached where it makes its model: in `__init__` or `configure_model`. It is resumed, or
tested, with `ckpt_path`; `load_from_checkpoint` works for such a module too.
Without the callback Lightning works as well; its checkpoints then hold the whole model.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Final

import fourier_format
from fourier_format.errors import DependencyMissingError, Violation
from fourier_trainers.torch.capturing import capture
from fourier_trainers.torch.checkpoints import trim
from fourier_trainers.torch.watching import Watch, watch

try:
    from lightning.pytorch import Callback
except ImportError as error:
    raise DependencyMissingError(
        Violation(
            "E-DEPENDENCY-MISSING",
            "lightning",
            "this callback is one of Lightning's Trainer, which is not installed",
            advice="install it with: pip install lightning",
        )
    ) from error


class AdapterCallback(Callback):  # type: ignore[misc]  # lightning's types are not followed
    """Writes the adapter, and keeps the base out of Lightning's checkpoints.

    In place of the attached model, a checkpoint holds its coefficients, heads and biases; what
    else the module holds stays. The file is written with every checkpoint and at the end. Under
    strategies that shard the model, checkpoints hold all of it, as those ask for all of it.
    """

    def __init__(
        self,
        name: str | None = None,
        directory: str | os.PathLike[str] | None = None,
        filename: str = "adapter.fft",
    ) -> None:
        """Takes what to write, and where.

        Args:
            name: The adapter; None means the only one, or the active one.
            directory: Where the file goes; None means the trainer's `log_dir`, or without a logger
                its `default_root_dir`.
            filename: What the file is called; .fft.h5 makes it HDF5.
        """
        self.name: Final = name
        self.directory: Final = directory
        self.filename: Final = filename

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Leave the base out of a checkpoint, and write the adapter."""
        trim(pl_module, checkpoint["state_dict"])
        self._write(trainer, pl_module)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the adapter that came of the training."""
        self._write(trainer, pl_module)

    def _write(self, trainer: Any, module: Any) -> None:
        adapter = capture(module, self.name)  # on every rank: parameters may be sharded
        folder = Path(self.directory or trainer.log_dir or trainer.default_root_dir)
        if trainer.is_global_zero:
            folder.mkdir(parents=True, exist_ok=True)
            fourier_format.save(adapter, folder / self.filename, overwrite=True)


class WatchCallback(Callback):  # type: ignore[misc]  # lightning's types are not followed
    """Watches the training every `log_every_n_steps`, and prints what it found at the end.

    Figures go to the trainer's logger; see `watch`.

    Attributes:
        watched: The `Watch`, from the beginning of the training on.
    """

    def __init__(self, name: str | None = None) -> None:
        """Takes what to watch: an adapter's name; None means the only one, or the active one."""
        self.name: Final = name
        self.watched: Watch | None = None
        self._loss: Any = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin.

        Raises:
            UsageError: The module has no such adapter.
        """
        steps = trainer.estimated_stepping_batches
        planned = int(steps) if math.isfinite(steps) and steps > 0 else None
        logger = trainer.logger if trainer.is_global_zero else None
        self.watched = watch(pl_module, self.name, planned_steps=planned, logger=logger)

    def on_before_backward(self, _trainer: Any, _pl_module: Any, loss: Any) -> None:
        """Remember the loss."""
        self._loss = loss.detach()

    def on_before_optimizer_step(self, trainer: Any, _pl_module: Any, optimizer: Any) -> None:
        """Look at gradients and coefficients, on every rank: parameters may be sharded."""
        step = trainer.global_step
        if self.watched is not None and step % max(1, trainer.log_every_n_steps) == 0:
            self.watched.observe(step, loss=self._loss, optimizer=optimizer)

    def on_train_end(self, trainer: Any, _pl_module: Any) -> None:
        """Print the advice."""
        if self.watched is not None and trainer.is_global_zero:
            print(self.watched)  # noqa: T201 - what it is for
