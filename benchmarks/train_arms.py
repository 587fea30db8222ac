"""What `train_step.py` compares: one training step of a base, a LoRA, PEFT's FourierFT and ours.

It runs in that script's children. All arms of a process share one base's weights.
"""
# ruff: noqa: TID251 -- the peers

from __future__ import annotations

import copy
import functools
import gc
import importlib
import importlib.util
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import plain_models
import torch
from measure import Json, interleaved, peak_mib, settled_mib, timed
from torch import Tensor, nn
from train_cases import Case, build, inputs_of, mark_gradient

RANK: Final = 8
LORA_ALPHA: Final = 16.0
ALPHA: Final = 150.0
LEARNING_RATE: Final = 1e-4
WARMUPS: Final = 2
MEMORY_STEPS: Final = 3


class Setup(NamedTuple):
    """All that the arms of a case have in common."""

    case: Case
    weights: str
    plain: bool
    n: int
    path: str
    gradient: str
    device: str
    dtype: torch.dtype


def attach(arm: str, base: nn.Module, setup: Setup) -> nn.Module:
    """Put an arm's adapter on a frozen base, with whatever its library wants to do to it."""
    targets = list(setup.case.targets)
    if setup.gradient == "input" or arm == "base":
        mark_gradient(base, setup.case, setup.gradient)
    torch.manual_seed(1)
    if arm == "base":
        return base
    if arm == "lora" and setup.plain:
        plain_models.add_lora(base, targets, RANK, LORA_ALPHA)
        return base
    if arm in {"lora", "peft"}:
        return _with_peft(arm, base, targets, setup.n)
    trainers: Any = importlib.import_module("fourier_trainers.torch")  # not in every environment
    path = arm.partition("_")[2] or setup.path
    config = trainers.FourierConfig(
        target_modules=tuple(targets), n=setup.n, alpha=ALPHA, path=path
    )
    trainers.attach(base, config)
    return base


def _with_peft(arm: str, base: nn.Module, targets: list[str], n: int) -> nn.Module:
    import peft

    config: Any
    if arm == "lora":
        config = peft.LoraConfig(r=RANK, lora_alpha=LORA_ALPHA, target_modules=targets)
    else:
        config = peft.FourierFTConfig(n_frequency=n, scaling=ALPHA, target_modules=targets)
    model: nn.Module = peft.get_peft_model(base, config)
    return model


class Step:
    """A training step of one arm: forward, backward and, if anything is trained, AdamW's step."""

    def __init__(self, arm: str, model: nn.Module, setup: Setup) -> None:
        self.model = model.train()
        self.trained = [value for value in model.parameters() if value.requires_grad]
        assert bool(self.trained) == (arm != "base"), arm
        self.optimizer = torch.optim.AdamW(self.trained, LEARNING_RATE) if self.trained else None
        self.ids, self.aim = inputs_of(setup.case, setup.device, setup.dtype)
        self.last = torch.zeros(())
        self.wait: Callable[[], object] = _nothing
        if setup.device == "cuda":
            self.wait = torch.cuda.synchronize

    def __call__(self) -> None:
        states: Tensor = self.model(input_ids=self.ids)[0]
        loss = nn.functional.mse_loss(states, self.aim)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.optimizer is not None:
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.last = loss.detach()
        self.wait()

    def facts(self) -> Json:
        """The number of trained parameters, and proof that they were trained on numbers."""
        loss = float(self.last)
        assert math.isfinite(loss)
        return {"trained_parameters": sum(part.numel() for part in self.trained), "loss": loss}


def times(arms: Sequence[str], setup: Setup, runs: int) -> Json:
    """Time steps of all arms in turn, in this process."""
    base = _base(setup)
    shared = {id(value): value for value in [*base.parameters(), *base.buffers()]}
    steps: dict[str, Step] = {}
    for arm in arms:
        # A copy that takes the base's tensors for its own: the weights are in memory once.
        steps[arm] = Step(arm, attach(arm, copy.deepcopy(base, dict(shared)), setup), setup)
        assert not any(id(value) in shared for value in steps[arm].trained)
    jobs = {arm: functools.partial(timed, step) for arm, step in steps.items()}
    calls = interleaved(jobs, runs, WARMUPS)
    return {
        "torch_threads": torch.get_num_threads(),
        "torch_build": torch.__version__,
        "device": torch.cuda.get_device_name() if setup.device == "cuda" else "cpu",
        "arms": {arm: {"calls": calls[arm]} | step.facts() for arm, step in steps.items()},
    }


def memory(arm: str, setup: Setup) -> Json:
    """The peak memory of some steps of an arm that has this process to itself."""
    for name in ("fourier_trainers.torch", "peft", "transformers"):
        # Every arm loads what any arm would, so that libraries count for all or for none.
        if not (setup.plain and name != "fourier_trainers.torch") and is_there(name):
            importlib.import_module(name)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # loads more of torch, 70 MiB
    base = _base(setup)
    without = _settled_mib(setup.device)
    step = Step(arm, attach(arm, base, setup), setup)
    before = _settled_mib(setup.device)
    for _ in range(MEMORY_STEPS):
        step()
    peak = torch.cuda.max_memory_allocated() / 2**20 if setup.device == "cuda" else peak_mib()
    step.facts()
    return {
        "peak_mib": peak,
        "above_first_step_mib": peak - before,
        "above_base_mib": peak - without,
    }


def _nothing() -> None:
    """A CPU has done what it was told when the call returns."""


def is_there(name: str) -> bool:
    """Whether a module could be imported; a package in which it lies may be missing too."""
    package = name.partition(".")[0]
    return importlib.util.find_spec(package) is not None


def _settled_mib(device: str) -> float:
    """The memory in use, after which the peak counts from here."""
    if device != "cuda":
        return settled_mib()
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated() / 2**20


def _base(setup: Setup) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build(setup.case, setup.weights, plain=setup.plain)
    return model.to(setup.device, setup.dtype)
