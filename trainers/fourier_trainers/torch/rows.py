"""Different adapters for different rows of one batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from fourier_format.errors import UsageError, Violation
from fourier_trainers.torch import activating
from fourier_trainers.torch.state import Owner, State, found_state, module_of, named


@contextlib.contextmanager
def adapter_rows(model: nn.Module, rows: Sequence[str | None]) -> Iterator[None]:
    """Inside, each row of a batch has its own adapter, with its own head and biases.

    It holds for the model, and so for every thread that runs it: one batch at a time. The backward
    pass may come later, unless it computes forwards again (gradient checkpointing).

    Args:
        model: An attached model, whose targets see the batch as the first axis of their input.
        rows: An adapter's name for each row; None for the base alone.

    Raises:
        UsageError: There is no such adapter, or delta weights are merged.
    """
    root, state = found_state(model)
    activating.refuse_merged(root)
    if isinstance(rows, str):
        problem, expected = "rows are a list of names, one for each row", "such as ['a', None]"
        raise UsageError(Violation("E-USAGE", "rows", problem, repr(rows), expected))
    for name in dict.fromkeys(row for row in rows if row is not None):
        named(state, name)
    before, state.switch.rows = state.switch.rows, tuple(rows)
    try:
        yield
    finally:
        state.switch.rows = before


class OwnRows:
    """A forward hook of a module that an adapter has its own parameters of.

    Rows of a batch that have others than those in place are computed again with theirs.
    """

    def __init__(self, state: State, path: str) -> None:
        """Takes the model's state, and the module's path."""
        self.state = state
        self.path = path
        self.owner = Owner()

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any], output: Any
    ) -> Any:
        """Returns the output with rows of their own, None for the one that there is."""
        self.owner.reached = True
        switch = self.state.switch
        rows = switch.rows
        if rows is None:
            return None
        for name in dict.fromkeys(rows):
            own = self._parameters_of(name)
            if any(module._parameters[leaf] is not p for leaf, p in own.items()):  # noqa: SLF001
                self._check(module, output, rows)
                places = [k for k, row in enumerate(rows) if row == name]
                chosen = torch.tensor(places, device=output.device)
                switch.rows = (name,) * len(places)
                try:
                    given = [_of_rows(value, chosen, len(rows)) for value in args]
                    more = {k: _of_rows(v, chosen, len(rows)) for k, v in keywords.items()}
                    part = _run(module, own, given, more)
                finally:
                    switch.rows = rows
                output = output.clone().index_copy_(0, chosen, part.to(output.dtype))
        return output

    def _parameters_of(self, name: str | None) -> dict[str, nn.Parameter]:
        """Returns an adapter's parameters of the module, by leaf; the base's where it has none."""
        inside = {
            key: parameter
            for key, parameter in self.state.originals.items()
            if key.rpartition(".")[0] == self.path
        }
        own = {} if name is None else self.state.adapters[name].whole
        return {key.rpartition(".")[2]: own.get(key, p) for key, p in inside.items()}

    def _check(self, module: nn.Module, output: Any, rows: Sequence[str | None]) -> None:
        if isinstance(output, Tensor) and output.dim() and output.shape[0] == len(rows):
            return
        problem = "rows cannot have parameters of their own: its output has no row for each"
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        where = f"{self.path} ({type(module).__name__})"
        advice = "run the rows of each adapter in a batch of their own"
        raise UsageError(
            Violation("E-USAGE", where, problem, str(shape), f"{len(rows)} rows", advice)
        )


def add_hooks(root: nn.Module, state: State, keys: Iterable[str]) -> None:
    """Have the modules of parameters, by name, answer to rows; once each."""
    for path in dict.fromkeys(key.rpartition(".")[0] for key in keys):
        if path not in state.owners:
            hook = OwnRows(state, path)
            state.owners[path] = hook.owner
            module_of(root, path).register_forward_hook(hook, with_kwargs=True)


def remove_hooks(root: nn.Module) -> None:
    """Take off every hook of this package, by kind: copies of a model have no handles."""
    for module in root.modules():
        hooks = module._forward_hooks  # noqa: SLF001 - the same
        for key in [k for k, h in hooks.items() if isinstance(h, OwnRows | activating.Reached)]:
            del hooks[key]
            module._forward_hooks_with_kwargs.pop(key, None)  # noqa: SLF001 - the same


def _of_rows(value: Any, chosen: Tensor, count: int) -> Any:
    has_rows = isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == count
    return value[chosen] if has_rows else value


def _run(
    module: nn.Module,
    own: Mapping[str, nn.Parameter],
    args: Sequence[Any],
    keywords: Mapping[str, Any],
) -> Tensor:
    """Returns the module's output with its `own` parameters in place, past its hooks."""
    before = {leaf: module._parameters[leaf] for leaf in own}  # noqa: SLF001 - whatever its class
    module._parameters.update(own)  # noqa: SLF001 - the same
    try:
        return cast("Tensor", module.forward(*args, **keywords))
    finally:
        module._parameters.update(before)  # noqa: SLF001 - the same
