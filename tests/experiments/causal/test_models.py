"""GPT-2's packed weight, divided; a quantised base; a model that is not there."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2LMHeadModel

import fourier_format
from experiments.causal.learning import Taught, learned, whole
from experiments.causal.methods import Fourier, Lora, Method
from experiments.causal.models import identity, kind, located, new_model, targets
from experiments.causal.rows import row
from experiments.causal.training import Recipe, Set, loss_of
from experiments.pretrained import FOLDER
from experiments.trial import Context
from tests.experiments.causal.places import context_in
from tests.tolerances import OUTPUT_F32

_ROWS = [row([5, 6, 7, 8 + k], [[20 + k, 21, 2]]) for k in range(8)]


def test_a_divided_weight_computes_what_the_packed_one_did(gpt2: str, shared: Path) -> None:
    tokens = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        expected = GPT2LMHeadModel.from_pretrained(gpt2).eval()(tokens).logits
        model = new_model(gpt2, shared)
        found = model(tokens).logits

    assert (found - expected).abs().max() <= OUTPUT_F32 * expected.abs().max()
    names = [f"transformer.h.{layer}.attn.c_attn.{part}" for layer in (0, 1) for part in "qv"]
    assert targets(model, 0) == names
    assert targets(model, 1) == names[2:]


def test_a_model_has_no_dropout_of_its_own(gpt2: str, shared: Path) -> None:
    model = new_model(gpt2, shared).train()
    tokens = torch.tensor([[5, 6, 7, 8]])

    with torch.no_grad():
        first, again = (model(tokens).logits for _ in range(2))

    assert first.equal(again)


@pytest.mark.parametrize("method", [Fourier(60, 300.0), Lora(2, 4.0)])
@pytest.mark.parametrize(("trained_layers", "precision"), [(0, "float32"), (1, "bfloat16")])
def test_what_was_learned_is_in_the_whole_model(
    method: Method, trained_layers: int, precision: str, shared: Path, tmp_path: Path
) -> None:
    """The loss of the merged whole is that of the cut one which was trained.

    It is taken in float32, whatever training computes in.
    """
    taught = Taught("toy", method, seed=1, trained_layers=trained_layers)
    rate = 0.3 if method.kind == "fourier" else 1e-2
    recipe = Recipe(rate, 3, 2, 1, precision)
    context = context_in(tmp_path, shared)

    result, values = learned(taught, recipe, _ROWS, _ROWS, context)
    model, _ = whole(taught, values, context)

    scores = [epoch["choose"] for epoch in result["history"]]
    assert scores[-1] > scores[0]
    assert result["choose"] == max(scores) == -result["choose_loss"]
    assert loss_of(model, Set(_ROWS, None)) == pytest.approx(-max(scores), rel=1e-5)
    assert result["parameters"] == sum(value.numel() for value in values.values())


def test_a_training_that_diverges_ends_and_says_so(shared: Path, tmp_path: Path) -> None:
    taught = Taught("toy", Lora(2, 4.0), seed=1)
    context = context_in(tmp_path, shared)

    result, values = learned(taught, Recipe(math.inf, 3, 2, 1, "float32"), _ROWS, _ROWS, context)

    assert result["diverged"] == 1
    assert len(result["history"]) == 1
    assert result["choose"] == -result["choose_loss"] < -1000
    json.dumps(result, allow_nan=False)
    with pytest.raises(ArithmeticError, match="diverged in its first epoch"):
        whole(taught, values, context)


def test_a_killed_training_goes_on_as_if_it_had_not_been(shared: Path, tmp_path: Path) -> None:
    taught = Taught("toy", Fourier(60, 300.0), seed=1)
    folders = [tmp_path / name for name in ("once", "killed")]
    for folder in folders:
        folder.mkdir()

    def steps(count: int) -> Context:
        left = iter(range(count))

        def step() -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt

        return Context(folders[1], shared, tmp_path, "cpu", step)

    recipe = Recipe(0.1, 3, 2, 1, "float32")
    expected, theirs = learned(taught, recipe, _ROWS, _ROWS, context_in(folders[0], shared))
    with pytest.raises(KeyboardInterrupt):
        learned(taught, recipe, _ROWS, _ROWS, steps(1))

    result, ours = learned(taught, recipe, _ROWS, _ROWS, steps(9))

    assert [each["losses"] for each in result["history"]] == [
        each["losses"] for each in expected["history"]
    ]
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())


@pytest.mark.parametrize("method", [Fourier(60, 300.0), Lora(2, 4.0)])
def test_a_base_of_4_bits_learns(method: Method, shared: Path, tmp_path: Path) -> None:
    """After an evaluation, too, for which bitsandbytes would pack it on a CPU."""
    pytest.importorskip("bitsandbytes")
    taught = Taught("toy", method, seed=1, bits=4, checkpointing=True)
    rate = 0.1 if method.kind == "fourier" else 1e-2

    result, values = learned(
        taught, Recipe(rate, 2, 2, 1, "bfloat16"), _ROWS, _ROWS, context_in(tmp_path, shared)
    )
    model, file = whole(taught, values, context_in(tmp_path, shared))

    assert result["history"][1]["choose"] > result["history"][0]["choose"]
    assert file.exists()
    assert {value.dtype for value in values.values()} == {torch.float32}
    assert {value.dtype for value in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_base_of_4_bits_computes_in_what_is_asked_for(precision: str, shared: Path) -> None:
    pytest.importorskip("bitsandbytes")

    model = new_model("toy", shared, bits=4, precision=precision)

    found = {each.compute_dtype for each in model.modules() if hasattr(each, "compute_dtype")}
    assert found == {getattr(torch, precision)}


def test_a_model_that_is_not_there_is_named(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="nowhere cannot be loaded"):
        new_model(str(tmp_path / "nowhere"), shared)


def test_a_folder_of_models_comes_first(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = located("toy", shared)
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "decoder").symlink_to(toy)
    assert located("some/decoder", shared) == "some/decoder"

    monkeypatch.setenv(FOLDER, str(tmp_path))

    assert located("some/decoder", shared) == str(tmp_path / "some" / "decoder")
    assert located("toy", shared) == toy
    (tmp_path / "smollm2").symlink_to(toy)
    assert located("smollm2", shared) == str(tmp_path / "smollm2")
    assert kind("some/decoder", shared) == "llama"


def test_equal_names_of_other_models_are_told_apart(shared: Path, tmp_path: Path) -> None:
    for folder, weights in (("one", b"1"), ("other", b"2")):
        (tmp_path / folder / "decoder").mkdir(parents=True)
        (tmp_path / folder / "decoder" / "model.safetensors").write_bytes(weights)

    one, other = (identity(str(tmp_path / k / "decoder"), shared) for k in ("one", "other"))

    assert one != other
    assert identity("a/decoder", shared) != identity("b/decoder", shared)


def test_a_process_reads_a_models_files_once(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"1")
    read: list[str] = []
    digest = hashlib.file_digest

    def counted(file: Any, kind: str) -> Any:
        read.append(file.name)
        return digest(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", counted)

    first, again = (identity(str(tmp_path), shared) for _ in range(2))
    weights.write_bytes(b"22")

    assert first == again != identity(str(tmp_path), shared)
    assert len(read) == 2


def test_lora_has_its_scale_and_its_dropout(shared: Path) -> None:
    model = new_model("toy", shared)
    (name, *_) = targets(model, 1)

    Lora(4, 32.0, 0.1).apply(model, [name], 1)

    layer: Any = model.get_submodule(name)
    assert layer.scaling["default"] == 8.0
    assert layer.lora_dropout["default"].p == 0.1


def test_fourierft_has_its_transform_and_its_band(shared: Path, tmp_path: Path) -> None:
    model = new_model("toy", shared)
    method = Fourier(60, 300.0, "dct2", (10.0, 5.0))

    method.apply(model, targets(model, 0), 1)

    adapter = fourier_format.load(method.save(model, tmp_path))
    assert adapter.transform == "dct2"
    for each in adapter.entry_sets:
        assert each.sampling is not None
        assert each.sampling.parameters == {"centre": 10.0, "width": 5.0}
