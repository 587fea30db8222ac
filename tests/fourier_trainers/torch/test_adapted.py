from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fourier_format.errors import TargetNotFoundError
from fourier_trainers.torch import attach, capture, detach, merge, set_active
from tests.fourier_trainers.torch import models

COMPILING = pytest.mark.filterwarnings(  # torch's own, about its own autograd.Function
    r"ignore:.*should not be instantiated. Methods on autograd functions:DeprecationWarning"
)

BASES: dict[str, tuple[Callable[[], Any], tuple[str, ...], dict[str, Any]]] = {
    "bert": (models.bert, ("query", "dense", "word_embeddings"), {"input_ids": models.token_ids()}),
    "gpt2": (models.gpt2, ("c_attn", "c_fc", "wte"), {"input_ids": models.token_ids()}),
    "llama": (models.llama, ("q_proj", "down_proj"), {"input_ids": models.token_ids()}),
    "t5": (
        models.t5,
        ("q", "wo", "shared"),
        {"input_ids": models.token_ids(), "decoder_input_ids": models.token_ids()},
    ),
    "vit": (models.vit, ("projection", "q_proj"), {"pixel_values": torch.ones(2, 3, 8, 8)}),
}


def output(model: Any, inputs: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        y: Tensor = model(**inputs)[0]
        return y


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("base", BASES)
def test_a_start_at_zero_is_the_base_bit_for_bit(base: str, dtype: torch.dtype) -> None:
    make, targets, inputs = BASES[base]
    if base == "t5":
        targets = ("q", "wo")  # its shared embedding has another module for each stack
    model = make().to(dtype)
    inputs = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    expected = output(model, inputs)

    models.attached(model, *targets, init="zeros")

    assert torch.equal(output(model, inputs), expected)
    assert torch.equal(model(**inputs)[0], expected)


@pytest.mark.parametrize("base", ["bert", "gpt2", "llama", "vit"])
def test_training_evaluating_and_merging_compute_one_thing(base: str) -> None:
    make, targets, inputs = BASES[base]
    model = models.attached(make().double(), *targets)
    expected = output(make().double(), inputs)

    trained = model(**inputs)[0].detach()
    cached = output(model, inputs)
    merged = output(merge(model), inputs)

    assert (trained - expected).abs().max() > 1e-3
    assert torch.allclose(cached, trained, rtol=0, atol=1e-9)
    assert torch.allclose(merged, cached, rtol=0, atol=1e-12)


def test_several_adapters_add_up() -> None:
    model, x = models.layers().double(), torch.randn(3, 8, dtype=torch.float64)
    base = model[0].weight.detach().clone()
    for name, seed in (("a", 1), ("b", 2)):
        models.attached(model, "0", name=name, seed=seed)
    deltas = []
    for name in ("a", "b"):
        set_active(model, name)
        merged = merge(copy.deepcopy(model))
        deltas.append(merged[0].weight - base)

    set_active(model, ("a", "b"))

    expected = torch.nn.functional.linear(x, base + deltas[0] + deltas[1], model[0].bias)
    assert torch.allclose(model[0](x), expected, atol=1e-12)
    with torch.no_grad():
        assert torch.allclose(model.eval()[0](x), expected, atol=1e-12)


def test_dropout_and_hooks_of_the_base_go_on() -> None:
    model, ids = models.mixed().train(), models.mixed_ids()
    seen: list[tuple[int, ...]] = []
    model.conv.register_forward_hook(lambda _, _args, y: seen.append(tuple(y.shape)))
    model.conv.register_forward_pre_hook(lambda _, args: (args[0] * 2,))
    torch.manual_seed(5)
    expected = model(ids)

    models.attached(model, *models.MIXED, init="zeros")

    torch.manual_seed(5)
    assert torch.equal(model(ids), expected)
    assert len(seen) == 2
    detach(model)
    assert len(model.conv._forward_hooks) == 1


def test_inputs_may_be_given_by_their_names() -> None:
    model, x = models.attached(models.layers(), "0"), torch.randn(2, 8)

    assert torch.equal(model[0](input=x), model[0](x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_parents_that_read_weights_see_the_delta(training: bool, norm_first: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, batch_first=True, norm_first=norm_first
    )
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train(training)
    x = torch.randn(2, 5, 8)
    plain = model(x).detach()
    models.attached(model, "linear1", "linear2", "out_proj")
    slow = model(x)
    with torch.no_grad():
        fast = model(x)
    merge(model)

    with torch.no_grad():
        assert torch.allclose(model(x), slow, atol=2e-5)
    assert torch.allclose(fast, slow, atol=2e-5)
    assert (slow - plain).abs().max() > 1e-2
    slow.sum().backward()
    for name, p in model.named_parameters():
        assert (p.grad is not None) == ("fourier" in name)


def test_a_fast_path_reads_new_coefficients_each_time() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    models.attached(model, "linear1", "out_proj")
    x = torch.randn(2, 5, 8)

    with torch.no_grad():
        before = model(x)
        for name, p in model.named_parameters():
            if "fourier" in name:
                p.mul_(2)
        after = model(x)

    assert (before - after).abs().max() > 1e-3


class Hidden(nn.Module):
    """Its parent reads the weight of `read` without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(4, 4)
        self.called = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.called(x), self.read.weight)


def test_a_target_that_the_first_forward_misses_is_an_error_that_names_it() -> None:
    model = models.attached(Hidden(), "read", "called", n=4)

    for _ in range(2):
        with pytest.raises(TargetNotFoundError, match=r"read: this target was not reached .*leave"):
            model(torch.ones(1, 4))

    attach(detach(model), models.config("read", "called", n=4, reached="unchecked"))
    model(torch.ones(1, 4))


def evaluated(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        y: Tensor = model(x)
    return y


def test_in_eval_mode_the_sum_is_made_once() -> None:
    model, x = models.attached(models.layers(), "0").eval(), torch.randn(2, 8)
    evaluated(model, x)
    first = model[0].fourier._cache.value

    evaluated(model, x)
    with torch.inference_mode():
        model(x)

    assert model[0].fourier._cache.value is first


def step(model: nn.Module, x: Tensor) -> None:
    models.train(model, lambda: model(x).square().mean(), steps=1)


def load(model: nn.Module, _: Tensor) -> None:
    state = {k: v * 2 if "fourier" in k else v for k, v in model.state_dict().items()}
    model.load_state_dict(state)


def assign(model: nn.Module, _: Tensor) -> None:
    state = {k: v * 2 if "fourier" in k else v for k, v in model.state_dict().items()}
    model.load_state_dict(state, assign=True)


def replace_data(model: Any, _: Tensor) -> None:
    model[0].fourier["default"].coefficients.data = torch.ones(12)


def edit_data(model: Any, _: Tensor) -> None:
    model.train()
    model[0].fourier["default"].coefficients.data.mul_(3)
    model.eval()


def base_changes(model: Any, _: Tensor) -> None:
    with torch.no_grad():
        model[0].weight.mul_(2)


@pytest.mark.parametrize(
    "change",
    [
        step,
        load,
        assign,
        replace_data,
        edit_data,
        base_changes,
        lambda model, _: set_active(model, None),
        lambda model, _: models.attached(model, "0", name="b", seed=9),
        lambda model, _: model.to(torch.bfloat16).to(torch.float32),
    ],
)
def test_the_cached_sum_goes_when_anything_changes(
    change: Callable[[nn.Module, Tensor], None],
) -> None:
    model, x = models.attached(models.layers(), "0").eval(), torch.randn(2, 8)
    before = evaluated(model, x)

    change(model, x)

    after = evaluated(model, x)
    assert not torch.equal(before, after)
    assert torch.allclose(after, model(x).detach(), atol=1e-5)  # with gradients, nothing is cached


def test_memory_that_is_used_again_does_not_look_like_the_old() -> None:
    model, x = models.attached(models.layers(), "0").eval(), torch.randn(2, 8)
    parameter = model[0].fourier["default"].coefficients

    outputs = []
    for k in range(6):
        parameter.data = torch.full((12,), float(k))
        outputs.append(evaluated(model, x))

    assert all(not torch.equal(a, b) for a, b in pairwise(outputs))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_may_be_cast_after_attaching(dtype: torch.dtype) -> None:
    model, ids = models.attached(models.mixed(), *models.MIXED), models.mixed_ids()
    expected = evaluated(model, ids)

    model.to(dtype)

    y = evaluated(model, ids)
    assert y.dtype == dtype
    assert torch.allclose(y.float(), expected, atol=0.1 * float(expected.abs().max()))
    model(ids).sum().backward()
    assert capture(model).entry_sets  # the base is the one it was, rounded


def test_a_model_made_in_inference_mode_sees_its_coefficients_change() -> None:
    with torch.inference_mode():
        model = models.attached(models.layers(), "0").eval()
        x = torch.ones(2, 8)
        before = model(x)
        model[0].fourier["default"].coefficients.zero_()

        assert torch.equal(model(x), models.layers()(x))
        assert not torch.equal(model(x), before)


def test_inference_mode_first_and_training_after() -> None:
    model, ids = models.mixed(), models.mixed_ids()
    with torch.inference_mode():
        models.attached(model, *models.MIXED)
        model(ids)
    with torch.inference_mode():
        model(ids)

    models.attached(twin := models.mixed(), *models.MIXED)
    with torch.inference_mode():
        twin(ids)
    models.train(twin, lambda: twin(ids).square().mean())


@pytest.mark.slow
@COMPILING
def test_an_attached_model_compiles_as_one_graph() -> None:
    model, ids = models.bert(), models.token_ids()
    del model.encoder.layer[1]
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        plain = compiled(ids)[0]
    models.attached(model, "query", "dense")

    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            assert torch.allclose(compiled(ids)[0], model(ids)[0], atol=1e-5)
    compiled(ids)[0].sum().backward()
    with torch.no_grad():
        assert (compiled(ids)[0] - plain).abs().max() > 1e-2


@COMPILING
def test_submodules_that_are_compiled_have_their_plain_names_in_the_adapter() -> None:
    model = models.layers()
    model[0] = torch.compile(model[0], backend="eager")

    models.attached(model, "0", "2", modules_to_save=(), bias="targets")

    model(torch.ones(1, 8))
    adapter = capture(model)
    assert [target.name for target in adapter.targets] == ["0", "2"]
    assert set(adapter.replacements) == {"0.bias", "2.bias"}


def test_autocast_trains() -> None:
    model, ids = models.attached(models.mixed(), *models.MIXED), models.mixed_ids()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(ids)
    y.float().sum().backward()

    assert all(
        p.grad is not None and p.grad.dtype == torch.float32
        for p in model.parameters()
        if p.requires_grad
    )
