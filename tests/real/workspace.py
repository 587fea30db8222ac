"""The files of one case, each made once: checkpoints, exports and reference outputs.

Exporting is by far the slowest step, and pytest-xdist spreads the tests of one case over several
processes. So the cache is a folder, and a file lock lets one process make what the others wait for.
"""
# ruff: noqa: TID251 -- torch and PEFT are what the converter is compared with

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from peft import PeftModel, get_peft_model
from transformers import PreTrainedModel

from tests.real.cases import Case, example_inputs
from tests.real.exports import Export, Wrap, export, wrapped
from tests.real.rewrites import Job, rewrite

_SEED = 7
Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What torch computes in float32, base alone and with the adapter, one array an output."""

    inputs: dict[str, Array]
    base: list[Array]
    adapted: list[Array]


def build_base(case: Case) -> PreTrainedModel:
    """Build the base model: the same weights at every call."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(_SEED)
        return case.base().eval()


def load_adapted(case: Case, adapter: Path) -> PeftModel:
    """Load the saved adapter as its user would, onto a float32 base."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(build_base(case), adapter).eval()


def outputs(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> list[Array]:
    """Run the model; every output as float32."""
    with torch.no_grad():
        result = model(**inputs)
    tensors = result.values() if hasattr(result, "values") else result
    return [tensor.float().numpy() for tensor in tensors]


def once(target: Path, make: Callable[[Path], None]) -> Path:
    """Make a folder unless it is there already, in this process or another."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            unfinished = target.with_name(f"{target.name}.part")
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(target)
    return target


@dataclass(frozen=True, slots=True)
class Workspace:
    """A case's folder; every method makes what it returns at its first call."""

    case: Case
    folder: Path

    def adapter(self, name: str = "default") -> Path:
        """The folder of one adapter's checkpoint."""
        saved = self.adapters()
        return saved if name == "default" else saved / name

    def adapters(self) -> Path:
        """The folder that ``PeftModel.save_pretrained`` wrote."""
        return once(self.folder / "adapter", self._save_adapter)

    def safetensors(self, dtype: torch.dtype = torch.float32) -> Path:
        """The base as one safetensors file, with ``config.json`` beside it."""

        def save(folder: Path) -> None:
            build_base(self.case).to(dtype).save_pretrained(folder)

        name = str(dtype).removeprefix("torch.")
        return once(self.folder / f"base-{name}", save) / "model.safetensors"

    def fingerprinted_base(self) -> Path:
        """A float32 base in which the adapter's modules have the names that PEFT gave them.

        transformers 5 renames a ViT's modules when it saves them; an export does not.
        """
        if self.case.base.__name__.startswith("vit"):
            return self.onnx(Export(exporter="dynamo"))
        return self.safetensors()

    def sharded(self) -> Path:
        """The same base in several files; returns their index."""

        def save(folder: Path) -> None:
            build_base(self.case).save_pretrained(folder, max_shard_size="100KB")

        return once(self.folder / "sharded", save) / "model.safetensors.index.json"

    def onnx(self, how: Export) -> Path:
        """The base as ONNX."""

        def save(folder: Path) -> None:
            model = build_base(self.case)
            export(model, example_inputs(model), folder / "model.onnx", how)

        return once(self.folder / how.name, save) / "model.onnx"

    def rewritten(self, how: Export, tools: tuple[str, ...]) -> Path:
        """The base as ONNX, as the tools leave it, one after the other."""
        if not tools:
            return self.onnx(how)
        source = self.rewritten(how, tools[:-1])

        def save(folder: Path) -> None:
            self.rewrite(source, folder / "model.onnx", tools[-1])

        return once(self.folder / f"{how.name}-{'+'.join(tools)}", save) / "model.onnx"

    def rewrite(self, source: Path, target: Path, tool: str) -> None:
        """Run one tool over a model of this base, adapted or not."""
        model = build_base(self.case)
        inputs = {key: value.numpy() for key, value in example_inputs(model).items()}
        rewrite(tool, Job(source=source, target=target, config=model.config, inputs=inputs))

    def reference(self, wrap: Wrap | None = None, name: str = "default") -> Reference:
        """The outputs of torch and PEFT, for the module that ``wrap`` puts around the model."""
        wrap = wrap or self.case.wrap
        saved = once(
            self.folder / f"reference-{wrap}-{name}",
            lambda folder: self._save_reference(folder, wrap, name),
        )
        with np.load(saved / "arrays.npz") as arrays:
            groups: dict[str, list[Array]] = {"base": [], "adapted": []}
            for key in sorted(key for key in arrays.files if "-" in key):
                groups[key.split("-")[0]].append(arrays[key])
            inputs = {key: arrays[key] for key in arrays.files if "-" not in key}
        return Reference(inputs=inputs, base=groups["base"], adapted=groups["adapted"])

    def _save_adapter(self, folder: Path) -> None:
        case = self.case
        first, *others = case.adapters
        full = case.adapter_dtype == torch.float32
        base = build_base(case).to(case.adapter_dtype)
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(_SEED + 1)
            model = get_peft_model(base, case.config(), first, autocast_adapter_dtype=full)
            for other in others:
                model.add_adapter(other, case.config())
            (case.train or move_trained_parameters)(model)
            model.save_pretrained(folder)

    def _save_reference(self, folder: Path, wrap: Wrap, name: str) -> None:
        base = build_base(self.case)
        inputs = example_inputs(base)
        adapted = load_adapted(self.case, self.adapter(name))
        arrays = {key: value.numpy() for key, value in inputs.items()}
        for group, model in (("base", base), ("adapted", adapted)):
            for number, array in enumerate(outputs(wrapped(model, wrap), inputs)):
                arrays[f"{group}-{number}"] = array
        np.savez(folder / "arrays.npz", allow_pickle=False, **arrays)


WorkspaceOf = Callable[[str], Workspace]
"""What the fixture ``workspace_of`` gives: a case's name to its workspace."""


def move_trained_parameters(model: PeftModel) -> None:
    """Stand in for training: move what PEFT trains beside the (already random) coefficients."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "fourierft_spectrum" not in name:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
