"""What torch says is what ONNX Runtime says, and a difference is found."""

from pathlib import Path

import pytest
import torch

from experiments.causal.decoding import Asked, Said, greedy
from experiments.causal.learning import Taught, whole
from experiments.causal.methods import Fourier
from experiments.causal.models import new_model, targets
from experiments.causal.serving import compared, ended, first_difference, served
from experiments.training import trained
from tests.experiments.causal.places import context_in

pytestmark = pytest.mark.real
_PROMPTS = [[5, 6, 7, 8], [9, 8, 7, 6], [10, 11], [50, 51, 52, 53, 54]]


def _asked() -> Asked:
    return Asked(_PROMPTS, 6, 2)


def _taught(name: str, shared: Path, folder: Path) -> tuple[torch.nn.Module, Path]:
    """Return a model with a large adapter, whose answers are not the base's."""
    method = Fourier(60, 3000.0)
    model = new_model(name, shared)
    method.apply(model, targets(model, 0), 1)
    generator = torch.Generator().manual_seed(0)
    values = {
        key: torch.randn(value.shape, generator=generator) for key, value in trained(model).items()
    }
    return whole(Taught(name, method, seed=1), values, context_in(folder, shared))


def test_greedy_search_is_transformers_own(shared: Path) -> None:
    model = new_model("toy", shared)

    found = greedy(model, _asked())

    for prompt, said in zip(_PROMPTS, found, strict=True):
        ids = torch.tensor([prompt])
        expected = model.generate(  # type: ignore[operator]  # transformers' models have it
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=6,
            do_sample=False,
            pad_token_id=0,
        )
        assert said.tokens == expected[0, len(prompt) :].tolist()
        assert len(said.margins) == len(said.tokens)
        assert min(said.margins) >= 0


@pytest.mark.parametrize("kind", ["toy", "gpt2"])
def test_the_converted_model_says_what_torch_does(
    kind: str, gpt2: str, shared: Path, tmp_path: Path
) -> None:
    """Llama by onnxruntime-genai; GPT-2, which that cannot build, in one pass."""
    name = gpt2 if kind == "gpt2" else kind
    model, file = _taught(name, shared, tmp_path)
    said = greedy(model, _asked())

    ours = served(file, name, _asked(), said, shared)

    assert ours.runtime == ("onnxruntime" if kind == "gpt2" else "onnxruntime-genai")
    result = compared([0, 1, 2, 3], said, ours.tokens)
    assert result["differing"] == []
    assert result["answers"] == 4
    assert not (tmp_path / "merged").exists()
    base = served(None, name, _asked(), said, shared)
    assert compared([0, 1, 2, 3], said, base.tokens)["differing"]


def test_a_difference_is_listed_with_its_margin() -> None:
    said = [Said([4, 5, 2], [1.0, 5e-5, 2.0]), Said([4, 2], [1.0, 3.0]), Said([7], [1e-6])]

    found = compared([11, 22, 33], said, [[4, 6, 2], [4, 2], [7, 8]])

    assert found["differing"] == [
        {"id": 11, "token": 1, "margin": 5e-5},
        {"id": 33, "token": 1, "margin": 1e-6},
    ]
    assert found["margins_below"] == 2
    assert found["tokens"] == 6


def test_equal_answers_have_no_difference() -> None:
    assert first_difference([1, 2], [1, 2]) is None
    assert first_difference([1, 2], [1]) == 1


@pytest.mark.parametrize(
    ("said", "expected"),
    [([4, 2, 0, 0], [4, 2]), ([4, 5], [4, 5, 2]), ([1, 3, 4, 5, 6, 7], [1, 3, 4, 5, 6, 7])],
)
def test_an_answer_ends_with_its_end(said: list[int], expected: list[int]) -> None:
    assert ended(said, _asked(), frozenset({2})) == expected


@pytest.mark.parametrize("ends", [frozenset({3}), frozenset({2, 3}), frozenset[int]()])
def test_an_end_is_not_added_where_something_else_may_have_stopped_it(
    ends: frozenset[int],
) -> None:
    assert ended([4, 5], _asked(), ends) == [4, 5]
