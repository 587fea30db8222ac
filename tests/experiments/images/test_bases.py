"""A trial's seed decides what is drawn on a base: the head, and LoRA's factors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from experiments import code
from experiments.images.cutting import targets
from experiments.text.methods import Fourier, Head, Lora, Method, parted
from experiments.training import DIVERGED
from tests.experiments.images.toys import PRETEXT, context

METHODS: list[Method] = [Lora(2, 4.0), Head(), Fourier(20, 50.0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("base")


def start(method: Method, seed: int, folder: Path) -> tuple[list[Tensor], list[Tensor]]:
    """Returns the head, and what else is trained."""
    model = PRETEXT.model(3, seed, context(folder))
    method.apply(model, targets(model, 1), seed)
    head, beside = parted(model)
    return [p.detach() for p in head], [p.detach() for p in beside]


def equal(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return all(a.equal(b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_two_seeds_give_two_heads(method: Method, folder: Path) -> None:
    first, again, other = (start(method, seed, folder)[0] for seed in (1, 1, 2))
    assert equal(first, again)
    assert not equal(first, other)


def test_equal_seeds_give_equal_heads_to_all_methods(folder: Path) -> None:
    heads = [start(method, 1, folder)[0] for method in METHODS]
    assert all(equal(heads[0], head) for head in heads)


def test_two_seeds_give_loras_of_two_factors(folder: Path) -> None:
    first, again, other = (start(METHODS[0], seed, folder)[1] for seed in (1, 1, 2))
    assert equal(first, again)
    assert not equal(first, other)


def test_a_seed_leaves_what_the_base_has_learned(folder: Path) -> None:
    one, other = (PRETEXT.model(3, seed, context(folder)).state_dict() for seed in (1, 2))
    differing = {name for name, value in one.items() if not value.equal(other[name])}
    assert differing == {"classifier.weight"}


def test_loras_factors_hang_on_its_seed_alone(folder: Path) -> None:
    def factors(drawn: int) -> list[Tensor]:
        model = PRETEXT.model(3, 1, context(folder))
        torch.rand(drawn)
        METHODS[0].apply(model, targets(model, 1), 1)
        return [p.detach() for p in parted(model)[1]]

    assert equal(factors(3), factors(7))


def test_a_killed_training_of_a_base_goes_on_with_its_own_code_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed() -> None:
        raise KeyboardInterrupt

    base, steps = replace(PRETEXT, epochs=2), []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            base.train(replace(context(tmp_path), step=killed))
        monkeypatch.setattr(code, "of", lambda *_: "other")
    base.train(replace(context(tmp_path), step=lambda: steps.append(1)))
    assert steps == [1]

    base.forget(context(tmp_path))
    assert {path.suffix for path in (tmp_path / "shared" / "vits").iterdir()} == {".lock"}


def test_a_base_whose_logits_are_not_finite_has_no_accuracy(folder: Path) -> None:
    base = replace(PRETEXT, rate=1e30, batch=1000, epochs=2)
    base.train(context(folder))
    history = base.history(context(folder))
    assert history[1]["loss"] is not None
    assert history[1]["choose"] == DIVERGED
