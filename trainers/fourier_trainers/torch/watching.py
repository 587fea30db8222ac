"""watch: what a training run tells of itself, gathered from the model and put to `diagnostics`.

Thresholds and sentences are in `fourier_format.diagnostics`; here is what needs torch, and where
the result goes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn

from fourier_format import transforms
from fourier_format.diagnostics import (
    Advice,
    Finding,
    Observation,
    WatchedTarget,
    advise,
    diagnose,
    remember,
)
from fourier_format.errors import UsageError, Violation, dependency_missing
from fourier_trainers.torch.adapted import Adapted, kind_of_adapted
from fourier_trainers.torch.capturing import to_numpy
from fourier_trainers.torch.coefficients import Coefficients
from fourier_trainers.torch.layers import DTYPES, weight_of
from fourier_trainers.torch.sharding import whole
from fourier_trainers.torch.spectral.basis import Basis
from fourier_trainers.torch.state import found_state, module_of, named

Log = Callable[[Mapping[str, float], int], None]
"""Takes figures by name, and the step."""


def watch(
    model: nn.Module,
    name: str | None = None,
    *,
    planned_steps: int | None = None,
    logger: Any = None,
) -> Watch:
    """Returns a watch on an adapter's training.

        watched = watch(model, planned_steps=1_000, logger=SummaryWriter())
        ...
        loss.backward()
        if step % 20 == 0:
            watched.observe(step, loss=loss, optimizer=optimizer)
        optimizer.step()
        ...
        print(watched)          # the advice, a line each; watched.print() is a table

    Args:
        model: An attached model, or one in which it is wrapped.
        name: The adapter; None means the only one, or the active one.
        planned_steps: How long the run will be, if known; advice on rates needs it.
        logger: Where figures go besides: TensorBoard's SummaryWriter, a logger of Lightning, a run
            of Weights and Biases, or any function of (figures by name, step).

    Raises:
        UsageError: There is no such adapter, or the logger is of no known sort.
    """
    root, state = found_state(model)
    chosen, record = named(state, name)
    members = {}
    targets = {}
    for target in record.targets:
        module = cast("Adapted", module_of(root, target))
        member = cast("Coefficients", module.fourier[chosen])
        seen = state.witnesses.get(target)
        members[target] = member
        held = kind_of_adapted(module).holds_weight()
        targets[target] = WatchedTarget(
            name=target,
            shape=member.basis.shape,
            count=member.basis.count,
            alpha=member.alpha,
            weight_norm=None if seen is None else seen.norm,
            gain=member.gain,
            dtype=DTYPES.get(weight_of(module).dtype) if held else None,
        )
    return Watch(targets, members, planned_steps, None if logger is None else _log_of(logger))


class Watch:
    """Observations of a run, and what they mean. Made by `watch`."""

    def __init__(
        self,
        targets: Mapping[str, WatchedTarget],
        members: Mapping[str, Coefficients],
        planned_steps: int | None,
        log: Log | None,
    ) -> None:
        """Takes what `watch` found."""
        self._targets: Final = targets
        self._members: Final = members
        self._planned_steps: Final = planned_steps
        self._log: Final = log
        self._histories: dict[str, tuple[Observation, ...]] = dict.fromkeys(targets, ())

    def observe(
        self,
        step: int,
        *,
        loss: Tensor | float | None = None,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        """Look at the coefficients and their gradients: after `backward`, before `zero_grad`.

        Args:
            step: Optimizer steps taken so far.
            loss: Of this step.
            optimizer: Tells the learning rate of each target.
        """
        rates = _rates(optimizer)
        changes = self._changes()
        loss_value = float(loss.detach()) if isinstance(loss, Tensor) else loss
        for name, member in self._members.items():
            values = member.coefficients
            gradient = values.grad
            norm = 0.0 if gradient is None else float(_local(gradient).norm())
            seen = Observation(
                step=step,
                coefficient_norm=abs(member.gain) * float(_local(values.detach()).norm()),
                relative_change=changes.get(name),
                gradient_norm=norm,
                learning_rate=rates.get(id(values)),
                loss=loss_value,
            )
            self._histories[name] = remember(self._histories[name], seen)
        if self._log is not None:
            self._log(self._figures(loss_value), step)

    def findings(self) -> tuple[Finding, ...]:
        """Returns what was found, of the run and of each target."""
        pairs = [(self._targets[name], history) for name, history in self._histories.items()]
        return diagnose(pairs, self._planned_steps)

    def advice(self) -> tuple[Advice, ...]:
        """Returns the findings in short, with what to do."""
        return advise(self.findings())

    def __str__(self) -> str:
        """The advice, a line each."""
        return "\n".join(str(line) for line in self.advice())

    def table(self) -> Any:
        """Returns a `rich.table.Table`: a row for each target, the latest figures and findings.

        Raises:
            DependencyMissingError: The package rich is not installed.
        """
        try:
            from rich.table import Column, Table
        except ImportError:
            raise dependency_missing("rich", "watch", "a table") from None
        found: dict[str | None, list[str]] = defaultdict(list)
        for finding in self.findings():
            found[finding.target].append(finding.kind)
        names, kinds = Column("target", overflow="fold"), Column("finding", overflow="fold")
        table = Table(names, "change / weight", "gradient", "coefficients", kinds)
        for name, history in self._histories.items():
            if history:
                last = history[-1]
                shown = (last.relative_change, last.gradient_norm, last.coefficient_norm)
                figures = ["-" if value is None else f"{value:.3g}" for value in shown]
                table.add_row(name, *figures, ", ".join(found[name]))
        return table

    def print(self) -> None:
        """Print the table and the advice.

        Raises:
            DependencyMissingError: The package rich is not installed.
        """
        table = self.table()
        from rich.console import Console

        console = Console()
        console.print(table)
        for line in self.advice():
            console.print(str(line), markup=False, highlight=False)

    def _changes(self) -> dict[str, float]:
        """Returns the exact change against the weight, where the weight's norm is known.

        By Parseval's theorem it is known from entries and coefficients, without a delta weight.
        """
        groups: dict[int, list[str]] = defaultdict(list)
        for name, member in self._members.items():
            if self._targets[name].weight_norm:
                groups[id(member.basis)].append(name)
        changes = {}
        for names in groups.values():
            basis: Basis = self._members[names[0]].basis
            values = [whole(self._members[name].coefficients) for name in names]
            stacked = np.stack([to_numpy(value.float()) for value in values])  # (L, n)
            norms = transforms.named(basis.transform).norms(basis.entries, stacked, basis.shape)
            for name, norm in zip(names, norms.tolist(), strict=True):
                member, weight_norm = self._members[name], self._targets[name].weight_norm
                changes[name] = abs(member.alpha * member.gain) * norm / (weight_norm or math.nan)
        return changes

    def _figures(self, loss: float | None) -> dict[str, float]:
        figures = {} if loss is None else {"fourier/loss": loss}
        for name, history in self._histories.items():
            last = history[-1]
            if last.relative_change is not None:
                figures[f"fourier/change/{name}"] = last.relative_change
            figures[f"fourier/gradient/{name}"] = last.gradient_norm or 0.0
            figures[f"fourier/coefficients/{name}"] = last.coefficient_norm
        return figures


def _rates(optimizer: torch.optim.Optimizer | None) -> dict[int, float]:
    if optimizer is None:
        return {}
    return {id(p): float(group["lr"]) for group in optimizer.param_groups for p in group["params"]}


def _log_of(logger: Any) -> Log:
    """Returns a function that hands figures to a logger, whichever sort it is."""
    if hasattr(logger, "add_scalar"):  # TensorBoard

        def to_tensorboard(figures: Mapping[str, float], step: int) -> None:
            for key, value in figures.items():
                logger.add_scalar(key, value, step)

        return to_tensorboard
    if hasattr(logger, "log_metrics"):  # Lightning
        return lambda figures, step: logger.log_metrics(dict(figures), step=step)
    if hasattr(logger, "log"):  # Weights and Biases
        return lambda figures, step: logger.log(dict(figures), step=step)
    if callable(logger):
        return cast("Log", logger)
    expected = "a SummaryWriter, a logger of Lightning, a wandb run, or a function"
    got = type(logger).__name__
    raise UsageError(Violation("E-USAGE", "logger", "not a logger", got, expected))


def _local(tensor: Tensor) -> Tensor:
    return whole(tensor).float()
