"""Answers that share a prompt cost less, and are what each is alone."""

from itertools import chain
from pathlib import Path

import pytest
import torch

from experiments.causal.cutting import cut, states
from experiments.causal.models import new_model
from experiments.causal.rows import IGNORED, Row, batch, batches, row
from experiments.causal.training import Set, answers, loss_of
from tests.tolerances import OUTPUT_F32

_PROMPT, _ANSWERS = [5, 6, 7, 8], [[20, 21, 2], [30, 2], [40, 41, 42, 43, 2]]


def _logits(model: torch.nn.Module, given: list[Row]) -> torch.Tensor:
    with torch.no_grad():
        return answers(model, batch(given, "cpu"), "float32")[0]


def test_each_token_of_each_answer_is_learned_once() -> None:
    found = row(_PROMPT, _ANSWERS)

    assert [label for label in found.labels if label != IGNORED] == [*chain(*_ANSWERS)]
    assert found.tokens.tolist() == [5, 6, 7, 8, 20, 21, 8, 30, 8, 40, 41, 42, 43]
    assert found.positions.tolist() == [0, 1, 2, 3, 4, 5, 3, 4, 3, 4, 5, 6, 7]
    assert found.answered == 10


def test_together_they_are_what_each_is_alone(shared: Path) -> None:
    """And what the model says of prompt and answer in one line, without a mask."""
    model = new_model("toy", shared)
    together = _logits(model, [row(_PROMPT, _ANSWERS), row([1, 2, 3], [[9, 2]])])

    alone = torch.cat([_logits(model, [row(_PROMPT, [answer])]) for answer in _ANSWERS])
    with torch.no_grad():
        plain = model(torch.tensor([[*_PROMPT, *_ANSWERS[2]]])).logits[0, 3:-1]

    largest = alone.abs().max()
    assert (together[:10] - alone).abs().max() <= OUTPUT_F32 * largest
    assert (together[5:10] - plain).abs().max() <= OUTPUT_F32 * largest


def test_a_cut_decoder_gives_what_the_whole_one_does(shared: Path) -> None:
    given = [row(_PROMPT, _ANSWERS), row([1, 2, 3], [[9, 2]])]
    model = new_model("toy", shared)
    expected = loss_of(model, Set(given, None))
    kept = states("toy", given, 1, shared, "cpu")

    cut(model, 1)

    assert loss_of(model, Set(given, kept)) == pytest.approx(expected, rel=OUTPUT_F32)
    assert [len(each) for each in kept] == [13, 4]


def test_batches_hold_every_row_once() -> None:
    given = [row(list(range(1, 3 + k)), [[2]]) for k in range(7)]

    found = batches(given, 3)

    assert sorted(number for each in found for number in each) == list(range(7))
    assert max(map(len, found)) == 3


def test_gpt2_is_not_cut_but_refused(gpt2: str, shared: Path) -> None:
    """It adds embeddings of positions to whatever it is given as embeddings."""
    with pytest.raises(SystemExit, match=r"gpt2.* set trained_layers to 0"):
        states(gpt2, [row(_PROMPT, _ANSWERS)], 1, shared, "cpu")
    with pytest.raises(SystemExit, match="set trained_layers to 0"):
        cut(new_model(gpt2, shared), 1)


def test_kept_states_are_those_of_these_parts_and_weights(shared: Path, tmp_path: Path) -> None:
    """Equal tokens that see each other otherwise, or other weights at the same place, are anew."""
    together, alone = row([5, 6], [[7, 2], [6, 2]]), row([5], [[6, 7, 6, 6, 2]])
    assert together.tokens.tolist() == alone.tokens.tolist()
    folder = tmp_path / "own"
    model = new_model("toy", shared)
    model.save_pretrained(folder)  # type: ignore[operator]  # transformers' models have it

    first, other = (
        states(str(folder), [each], 2, tmp_path, "cpu")[0] for each in (together, alone)
    )
    assert (first == other).all()  # of the lowest layer both read the embeddings
    of_part, of_alone = (
        states(str(folder), [each], 1, tmp_path, "cpu")[0] for each in (together, alone)
    )
    assert (of_part != of_alone).any()
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(2)  # type: ignore[operator]  # the same
    model.save_pretrained(folder)  # type: ignore[operator]  # the same

    assert (states(str(folder), [together], 2, tmp_path, "cpu")[0] == 2 * first).all()
