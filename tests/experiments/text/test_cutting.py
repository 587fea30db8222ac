"""What is computed beforehand, and what is left out, changes no answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import transformers
from torch import nn

from experiments.text.cutting import cut, lower_states
from experiments.text.models import padded, padding
from tests import tolerances

TOKENS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14], [15, 16, 17, 18, 19]]
SHAPE = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}


def bert() -> nn.Module:
    config = transformers.BertConfig(**SHAPE)
    model: nn.Module = transformers.BertForSequenceClassification(config)
    return model


def roberta() -> nn.Module:
    config = transformers.RobertaConfig(**SHAPE, pad_token_id=1)
    model: nn.Module = transformers.RobertaForSequenceClassification(config)
    return model


def mpnet() -> nn.Module:
    config = transformers.MPNetConfig(**SHAPE, pad_token_id=1)
    model: nn.Module = transformers.MPNetForSequenceClassification(config)
    return model


@pytest.mark.parametrize("make", [bert, roberta])
@pytest.mark.parametrize("trained", [1, 2])
def test_a_cut_model_answers_as_the_whole_one(make: Callable[[], nn.Module], trained: int) -> None:
    torch.manual_seed(0)
    model = make().eval()
    examples = [{"input_ids": torch.tensor(row).numpy()} for row in TOKENS]
    batch = padded(examples, padding(model))
    whole = model(**batch).logits.detach()

    states = lower_states(model, trained, batch)
    cut(model, trained)
    rows = [{"inputs_embeds": states[row, : len(ids)].numpy()} for row, ids in enumerate(TOKENS)]
    found = model(**padded(rows, 0)).logits.detach()

    assert (found - whole).abs().max() <= tolerances.CUT * whole.abs().max()


def test_an_encoder_that_cannot_be_cut_is_refused_before_it_is_changed() -> None:
    model = mpnet()
    before = dict(model.named_modules())

    with pytest.raises(SystemExit, match="trained_layers to 0"):
        cut(model, 1)

    assert dict(model.named_modules()) == before
