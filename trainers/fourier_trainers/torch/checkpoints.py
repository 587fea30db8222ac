"""What a training checkpoint holds of a model: coefficients, heads and biases; never the base.

    torch.save({"model": trained_state(model), "optimizer": optimizer.state_dict()}, path)
    ...
    attach(model, config)                                # as it was, on the same base
    saved = torch.load(path)
    load_trained_state(model, saved["model"])
    optimizer.load_state_dict(saved["optimizer"])

An attached model's own `load_state_dict` takes such a state too, strict or not, so that whatever
restores models by it (Trainer, Lightning) restores attached ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from fourier_format.errors import UsageError, Violation
from fourier_trainers.torch import activating
from fourier_trainers.torch.adapted import Adapted
from fourier_trainers.torch.coefficients import Coefficients
from fourier_trainers.torch.sharding import is_sharded, shard_like, whole
from fourier_trainers.torch.state import (
    ATTRIBUTE,
    State,
    found_state,
    module_of,
    plain_name,
    refresh,
)


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """Returns copies of what is trained, for all adapters of a model, under names of its own.

    Coefficients are as they are trained, over `gain`. Names are those of the state_dict of the
    attached module, whatever it and its modules are wrapped in; only where several adapters have
    their own values of one parameter, `classifier.weight` is `classifier.fourier.<name>.weight`.

    Where parameters are sharded (FSDP2), every rank has to call it, and gets all of it.

    Args:
        model: An attached model, or one in which it is wrapped.

    Raises:
        UsageError: No adapter is attached, or a parameter is still on the meta device.
    """
    root, state = found_state(model)
    parameters = _trained(root, state)
    _refuse_meta(parameters)
    return {key: whole(parameter).clone() for key, parameter in parameters.items()}


def load_trained_state(model: nn.Module, trained: Mapping[str, Tensor]) -> None:
    """Give an attached model the values that `trained_state` returned; all of them or none.

    Where parameters are sharded (FSDP2), every rank has to call it; rank 0's values are taken.

    Args:
        model: A model with the same adapters attached, or one in which it is wrapped.
        trained: What `trained_state` returned.

    Raises:
        UsageError: A name is missing or unexpected, a shape differs, delta weights are merged, or a
            parameter is still on the meta device.
    """
    root, state = found_state(model)
    activating.refuse_merged(root)
    parameters = _trained(root, state)
    given = {plain_name(key): value for key, value in trained.items()}
    wrong = list(_differences(parameters, given))
    if wrong:
        raise UsageError(wrong)
    _refuse_meta(parameters)
    with torch.no_grad():
        for key, parameter in parameters.items():
            parameter.copy_(shard_like(given[key], parameter))


def trim(model: nn.Module, state_dict: MutableMapping[str, Any], prefix: str = "") -> None:
    """Leave of a whole `state_dict` what is trained: of attached modules, nothing of their bases.

    A sharded model's stays whole: what loads it again asks for every parameter of the model.

    Args:
        model: What the state_dict was taken of: an attached module, or one that holds such.
        state_dict: It is changed in place.
        prefix: What the model's names begin with in it.
    """
    for path, module in list(model.named_modules()):
        if ATTRIBUTE not in module.__dict__ or is_sharded(module):
            continue
        start = f"{prefix}{path}." if path else prefix
        for key in [key for key in state_dict if key.startswith(start)]:
            del state_dict[key]
        state_dict.update({start + key: value for key, value in trained_state(module).items()})


class TrainedStates:
    """Hooks of an attached module: its load_state_dict takes what `trained_state` returns."""

    def __init__(self) -> None:
        """Nothing is being loaded."""
        self._taken: str | None = None

    def before(
        self, module: nn.Module, state_dict: MutableMapping[str, Any], prefix: str, *_: Any
    ) -> None:
        """Load a dictionary that holds nothing of the base, and take it away.

        Raises:
            UsageError: It does not fit the adapters, or delta weights are merged.
        """
        self._taken = None
        activating.refuse_merged(module)  # whose weights are not the base's
        keys = [key for key in state_dict if key.startswith(prefix)]
        given = {plain_name(key.removeprefix(prefix)): state_dict[key] for key in keys}
        trained = _trained(module, module.__dict__[ATTRIBUTE])
        ours = {key for key in trained if key.endswith(".coefficients")}
        if ours.isdisjoint(given) or not _base_names(module, trained).isdisjoint(given):
            return
        load_trained_state(module, given)
        for key in keys:
            del state_dict[key]
        self._taken = prefix

    def after(self, _: nn.Module, incompatible: Any) -> None:
        """Report nothing missing of a module whose values have been loaded."""
        if self._taken is not None:
            missing: list[str] = incompatible.missing_keys
            missing[:] = [key for key in missing if not key.startswith(self._taken)]
        self._taken = None


def accept_trained_states(root: nn.Module) -> None:
    """Register the hooks on a module that is being attached."""
    hooks = TrainedStates()
    root.register_load_state_dict_pre_hook(hooks.before)
    root.register_load_state_dict_post_hook(hooks.after)


def forget_trained_states(root: nn.Module) -> None:
    """Take the hooks off; by kind, since copies of a model have no handle."""
    before, after = root._load_state_dict_pre_hooks, root._load_state_dict_post_hooks  # noqa: SLF001
    for hooks in cast("tuple[dict[int, Any], ...]", (before, after)):
        for key, hook in list(hooks.items()):
            bound = getattr(hook, "hook", hook)  # torch wraps those that come before
            if isinstance(getattr(bound, "__self__", None), TrainedStates):
                del hooks[key]


def _trained(root: nn.Module, state: State) -> dict[str, nn.Parameter]:
    """Returns what is trained, each parameter once, under the names of `trained_state`."""
    refresh(root, state)
    found: dict[str, nn.Parameter] = {}
    for name, record in state.adapters.items():
        for target in record.targets:
            member = cast("Coefficients", cast("Adapted", module_of(root, target)).fourier[name])
            found[f"{target}.fourier.{name}.coefficients"] = member.coefficients
    seen = set[int]()
    for name, record in state.adapters.items():
        for key, parameter in record.whole.items():
            if id(parameter) not in seen:
                found[_own_name(state, name, key)] = parameter
            seen.add(id(parameter))
    return found


def _base_names(root: nn.Module, trained: Mapping[str, Any]) -> set[str]:
    """Returns the plain names of the base's parameters and buffers."""
    parameters = root.named_parameters(remove_duplicate=False)
    buffers = root.named_buffers(remove_duplicate=False)
    names = {plain_name(name) for name, _ in itertools.chain(parameters, buffers)}
    return names - trained.keys()


def _own_name(state: State, name: str, key: str) -> str:
    if sum(key in record.whole for record in state.adapters.values()) == 1:
        return key
    owner, _, leaf = key.rpartition(".")
    return ".".join(part for part in (owner, "fourier", name, leaf) if part)


def _differences(
    parameters: Mapping[str, nn.Parameter], trained: Mapping[str, Tensor]
) -> Iterator[Violation]:
    """Yields what keeps a trained state from fitting, with a line for each name."""
    advice = "attach with the configuration and names that it was trained with"
    for key in parameters.keys() - trained.keys():
        yield Violation("E-USAGE", key, "the trained state lacks it", advice=advice)
    for key in trained.keys() - parameters.keys():
        problem = "nothing of this name is trained in the model"
        yield Violation("E-USAGE", key, problem, advice=advice)
    for key, parameter in parameters.items():
        if key in trained and trained[key].shape != parameter.shape:
            got, expected = tuple(trained[key].shape), tuple(parameter.shape)
            problem = "the trained state has another shape"
            yield Violation("E-USAGE", key, problem, str(got), str(expected), advice)


def _refuse_meta(parameters: Mapping[str, nn.Parameter]) -> None:
    empty = [key for key, value in parameters.items() if value.device.type == "meta"]
    if empty:
        advice = 'call model.to_empty(device="cpu") first, or another device'
        problem = "it is on the meta device and has no values"
        raise UsageError(Violation("E-USAGE", key, problem, advice=advice) for key in empty)
