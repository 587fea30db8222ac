"""Models that Accelerate has put hooks into, as `from_pretrained(..., device_map=...)` does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import cpu_offload, dispatch_model
from accelerate.hooks import remove_hook_from_module

from fourier_format.errors import UnsupportedError
from fourier_trainers.torch import attach, capture, detach, load_adapter
from tests.fourier_trainers.torch import models

IDS = models.token_ids()


def dispatched(model: Any) -> Any:
    return dispatch_model(model, {"": "cpu"}, main_device="cpu", force_hooks=True)


def output(model: Any) -> torch.Tensor:
    with torch.no_grad():
        y: torch.Tensor = model(input_ids=IDS)[0]
        return y


def test_a_dispatched_model_is_adapted_and_left_as_it_was() -> None:
    expected = output(models.attached(models.bert(), "query", "word_embeddings"))
    model = dispatched(models.bert())
    before = output(model)

    models.attached(model, "query", "word_embeddings")
    model.train(mode=False)
    assert torch.equal(output(model), expected)
    model(input_ids=IDS)[0].sum().backward()
    adapter = capture(model)
    detach(model)

    assert torch.equal(output(model), before)
    assert torch.equal(output(load_adapter(dispatched(models.bert()), adapter)), expected)


def test_a_model_is_dispatched_after_it_is_adapted() -> None:
    model = models.attached(models.bert(), "query")
    expected = output(model)

    dispatched(model)
    assert torch.equal(output(model), expected)
    remove_hook_from_module(model, recurse=True)
    assert torch.equal(output(model), expected)
    detach(model)

    assert torch.equal(output(model), output(models.bert()))


def test_an_offloaded_weight_is_refused() -> None:
    model = cpu_offload(models.bert(), torch.device("cpu"))
    with pytest.raises(UnsupportedError, match="is offloaded"):
        attach(model, models.config("query"))


def test_a_forward_that_someone_has_replaced_is_refused() -> None:
    model = models.bert()
    layer = model.encoder.layer[0].attention.self.query
    plain = layer.forward
    layer.forward = lambda x: plain(x) + 1

    with pytest.raises(UnsupportedError, match="replaced on the module itself"):
        attach(model, models.config("query"))
