"""What `serve.py` measures computes what it says: the peer's rows, against torch in float64."""
# ruff: noqa: TID251 -- torch is what they are compared with

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import fourier_format
from tests.tolerances import ONNX_OUTPUT_F32

_FOLDER = Path(__file__).parents[2] / "benchmarks"
_MODEL = "bert_base"


@pytest.fixture(scope="module")
def modules() -> dict[str, Any]:
    """The benchmark's modules, which lie beside one another and are no package."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's and onnxruntime-genai's imports
        patch.syspath_prepend(str(_FOLDER))
        names = ("serve_arms", "serve_cases", "serve_lora", "serve_models")
        return {name: importlib.import_module(name) for name in names}


@pytest.fixture(scope="module")
def setup(modules: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model's files, with a graph that takes LoRAs."""
    files = modules["serve_cases"].Files(tmp_path_factory.mktemp("serve") / "model")
    command = [_FOLDER / "serve_models.py", files.folder, _MODEL, "--smoke"]
    subprocess.run([sys.executable, *map(str, command)], check=True, capture_output=True)
    sizes = modules["serve_cases"].sizes_of(smoke=True)
    adapter = fourier_format.load(files.adapter(max(sizes)))
    modules["serve_lora"].add_lora(files.base, adapter, files.lora)
    return modules["serve_arms"].Setup(
        case=modules["serve_cases"].case_of(f"{_MODEL}_16x64", smoke=True),
        model=modules["serve_cases"].model_of(_MODEL, smoke=True),
        files=files,
        sizes=sizes,
        device="cpu",
        threads=1,
        binding=False,
    )


def _apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one - other).max() / np.abs(other).max())


def _row_by_row(modules: dict[str, Any], setup: Any) -> NDArray[np.float64]:
    """Each row by torch in float64, its LoRA's product added to the weights."""
    arms, lora, case = modules["serve_arms"], modules["serve_lora"], setup.case
    session = arms.session_of(setup.files.base, setup)
    ids = torch.from_numpy(arms.feeds_of(setup, session)["input_ids"])
    rows = []
    for number, (_, factors) in enumerate(arms.loras(setup, case.rows)):
        model = modules["serve_models"].torch_model(setup.model).double()
        for target in fourier_format.load(setup.files.adapter(max(setup.sizes))).targets:
            first, second = (
                torch.from_numpy(factors[name]).double() for name in lora.names(target.name)
            )
            model.get_submodule(target.name).weight.data += (first @ second).T
        with torch.no_grad():
            rows.append(model(ids[number : number + 1]).last_hidden_state)
    rows_in_one: NDArray[np.float64] = torch.cat(rows).numpy()
    return rows_in_one


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("binding", [False, True])
@pytest.mark.parametrize("name", ["lora_rows", "lora_two_sessions"])
def test_each_row_has_its_own_lora(
    modules: dict[str, Any], setup: Any, name: str, binding: bool
) -> None:
    expected = _row_by_row(modules, setup)
    base = modules["serve_arms"].open_arm("base", setup).answers()

    arm = modules["serve_arms"].open_arm(name, setup._replace(binding=binding))
    arm.call()
    found = arm.answers()

    assert _apart(found, expected) < ONNX_OUTPUT_F32
    assert all(_apart(found[k], base[k]) > 100 * ONNX_OUTPUT_F32 for k in range(len(found)))


@pytest.mark.real
@pytest.mark.slow
def test_a_graph_for_loras_is_its_base_without_one(modules: dict[str, Any], setup: Any) -> None:
    arms = modules["serve_arms"]
    session = arms.session_of(setup.files.lora, setup)

    found = session.run(None, arms.feeds_of(setup, session))[0]

    expected = arms.open_arm("base", setup).answers()
    assert _apart(found, expected) < ONNX_OUTPUT_F32


@pytest.mark.real
@pytest.mark.slow
def test_bound_inputs_give_what_runs_give(modules: dict[str, Any], setup: Any) -> None:
    arms = modules["serve_arms"]

    found = arms.open_arm("lora_one", setup._replace(binding=True)).answers()

    assert np.array_equal(found, arms.open_arm("lora_one", setup).answers())
