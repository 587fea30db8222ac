"""Every layer kind computes what torch computes with W + delta in float64."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import fourier_trainers.torch as trainer
from fourier_trainers.config import Path
from fourier_trainers.torch import FourierConfig, adapter_rows, attach
from tests.fourier_trainers.torch.reference import TRANSFORMS, error
from tests.fourier_trainers.torch.single import KINDS, Adapted
from tests.tolerances import SPECTRAL_F64, TRAINED_HALF_RATIO, TRAINED_OUTPUT_F32

SHAPES = [(1, 1), (1, 2), (7, 1), (31, 2), (12, 18), (97, 128), (512, 384)]
PATHS: tuple[Path, ...] = ("weight", "activation", "auto")
BARS = {torch.float64: SPECTRAL_F64, torch.float32: TRAINED_OUTPUT_F32}
HALVES = (torch.bfloat16, torch.float16)
CASES = [
    (kind, shape) for kind in KINDS for shape in SHAPES if kind != "conv2d" or shape[1] % 2 == 0
]
kinds = pytest.mark.parametrize("kind", KINDS)
paths = pytest.mark.parametrize("path", PATHS)
transforms = pytest.mark.parametrize("transform", TRANSFORMS)
cases = pytest.mark.parametrize(("kind", "shape"), CASES, ids=str)
halves = pytest.mark.parametrize("dtype", HALVES, ids=str)


def wrong(got: dict[str, Tensor], expected: dict[str, Tensor], bar: float) -> dict[str, float]:
    """Return what is further off than `bar`."""
    errors = {name: error(value, expected[name]) for name, value in got.items()}
    return {name: value for name, value in errors.items() if value >= bar}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@paths
@transforms
@cases
def test_output_and_gradients_are_exact(
    kind: str, shape: tuple[int, int], transform: str, path: Path, dtype: torch.dtype
) -> None:
    adapted = Adapted(kind, shape, transform, path).to(dtype)

    got = adapted.got()

    assert got["y"].dtype == dtype
    assert ("x" in got) == (kind != "embedding")
    assert wrong(got, adapted.expected(adapted.g(got["y"])), BARS[dtype]) == {}


@halves
@paths
@transforms
@pytest.mark.parametrize("shape", [(12, 18), (97, 128), (256, 384)], ids=str)
@kinds
def test_half_precision_is_as_exact_as_the_layer_itself(
    kind: str, shape: tuple[int, int], transform: str, path: Path, dtype: torch.dtype
) -> None:
    adapted = Adapted(kind, shape, transform, path).to(dtype)

    got = adapted.got()

    g = adapted.g(got["y"])
    usual = usual_errors(adapted, g)
    assert got["y"].dtype == dtype
    assert got["coefficients"].dtype == torch.float32
    expected = adapted.expected(g)
    ratios = {name: error(got[name], expected[name]) / usual[name] for name in got}
    assert {name: r for name, r in ratios.items() if r >= TRAINED_HALF_RATIO} == {}


def usual_errors(adapted: Adapted, g: Tensor, *, autocast: bool = False) -> dict[str, float]:
    """Return the errors of the layer without adapter in its own dtype, at least half a last place.

    That of the coefficients' gradient is that of the weight's.
    """
    layer, x = adapted.layer, adapted.x.detach()
    x = x.clone().requires_grad_(x.is_floating_point())
    layer.weight.requires_grad_(requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = layer.base_forward(x)
    y.backward(g)
    layer.weight.requires_grad_(requires_grad=False)
    expected = adapted.expected(g, adapted=False)
    gradient = adapted.kind.canonical(layer.weight.grad)
    layer.weight.grad = None
    least = torch.finfo(y.dtype).eps / 2
    found = {"y": error(y, expected["y"]), "coefficients": error(gradient, expected["matrix"])}
    if x.grad is not None:
        found["x"] = error(x.grad, expected["x"])
    return {name: max(value, least) for name, value in found.items()}


@paths
@kinds
def test_autocast_computes_as_the_layer_itself_under_autocast(kind: str, path: Path) -> None:
    adapted = Adapted(kind, (64, 96), path=path).to(torch.float32)

    with torch.autocast("cpu", torch.bfloat16):
        y = adapted.layer.base_forward(adapted.x)
        g = adapted.g(y)
        got = adapted.got(g)

    assert got["y"].dtype == y.dtype == (torch.float32 if kind == "embedding" else torch.bfloat16)
    usual = usual_errors(adapted, g, autocast=True)
    expected = adapted.expected(g)
    ratios = {name: error(got[name], expected[name]) / usual[name] for name in got}
    assert {name: r for name, r in ratios.items() if r >= TRAINED_HALF_RATIO} == {}
    assert got["coefficients"].dtype == torch.float32


@paths
@kinds
def test_autocast_leaves_float64_alone(kind: str, path: Path) -> None:
    adapted = Adapted(kind, path=path).to(torch.float64)
    plain = adapted.got()

    with torch.autocast("cpu", torch.bfloat16):
        got = adapted.got()

    assert all(torch.equal(got[name], plain[name]) for name in plain)


@halves
@paths
@kinds
def test_a_model_cast_as_a_whole_still_trains(kind: str, path: Path, dtype: torch.dtype) -> None:
    """Then the coefficients too are of half precision, and widened to be computed with."""
    adapted = Adapted(kind, path=path)
    adapted.model.to(dtype)
    adapted.x = adapted.x.to(dtype) if adapted.x.is_floating_point() else adapted.x

    got = adapted.got()

    expected = adapted.expected(adapted.g(got["y"]))
    assert got["coefficients"].dtype == dtype
    assert wrong(got, expected, 6 * torch.finfo(dtype).eps) == {}


@pytest.mark.parametrize("view", ["turned", "sliced", "expanded", "reversed axes"])
@paths
@kinds
def test_strides_do_not_matter(kind: str, path: Path, view: str) -> None:
    adapted = Adapted(kind, path=path).to(torch.float64)
    x = adapted.x
    views = {
        "turned": x.transpose(-1, -2).contiguous().transpose(-1, -2),
        "sliced": torch.stack([x, x + 1 if x.is_floating_point() else x], -1)[..., 0],
        "expanded": x[:1].expand(x.shape),
        "reversed axes": x.permute(*reversed(range(x.dim())))
        .contiguous()
        .permute(*reversed(range(x.dim()))),
    }

    got = adapted.got(x=views[view])

    expected = adapted.expected(adapted.g(got["y"]), views[view].contiguous())
    assert wrong(got, expected, SPECTRAL_F64) == {}


@pytest.mark.parametrize(
    ("kind", "lead"),
    [
        (kind, lead)
        for kind in ("linear", "conv1d", "embedding")
        for lead in ((), (3,), (2, 4), (2, 3, 2), (0,), (2, 0), (0, 4))
        if lead or kind != "conv1d"  # which itself takes no single vector
    ],
    ids=str,
)
@paths
def test_tokens_may_have_any_axes_and_be_none(kind: str, path: Path, lead: tuple[int, ...]) -> None:
    adapted = Adapted(kind, path=path).to(torch.float64)
    if kind == "embedding":
        x = torch.randint(24, lead)
    else:
        x = torch.randn(*lead, 24, dtype=torch.float64)

    got = adapted.got(x=x)

    assert got["y"].shape == (*lead, 18)
    assert wrong(got, adapted.expected(adapted.g(got["y"]), x), SPECTRAL_F64) == {}


@pytest.mark.parametrize("lead", [(), (0,), (1,)], ids=str)
@paths
def test_images_may_be_one_or_none(path: Path, lead: tuple[int, ...]) -> None:
    adapted = Adapted("conv2d", path=path).to(torch.float64)
    x = torch.randn(*lead, 12, 3, 4, dtype=torch.float64)

    got = adapted.got(x=x)

    assert wrong(got, adapted.expected(adapted.g(got["y"]), x), SPECTRAL_F64) == {}


@paths
@pytest.mark.parametrize("kind", ["linear", "conv2d"])
def test_a_layer_needs_no_bias(kind: str, path: Path) -> None:
    adapted = Adapted(kind, path=path, bias=False).to(torch.float64)

    got = adapted.got()

    assert wrong(got, adapted.expected(adapted.g(got["y"])), SPECTRAL_F64) == {}


@paths
def test_indices_of_an_embedding_may_be_of_32_bits(path: Path) -> None:
    adapted = Adapted("embedding", path=path).to(torch.float64)

    got = adapted.got(x=adapted.x.int())

    assert wrong(got, adapted.expected(adapted.g(got["y"])), SPECTRAL_F64) == {}


@paths
def test_the_padding_of_an_embedding_is_adapted_like_the_rest(path: Path) -> None:
    """The delta weight is added to the whole matrix, so its gradient is of the whole matrix."""
    adapted = Adapted("embedding", path=path).to(torch.float64)
    adapted.layer.padding_idx = 3
    x = torch.tensor([[0, 3, 3], [3, 7, 23]])

    got = adapted.got(x=x)

    assert wrong(got, adapted.expected(adapted.g(got["y"]), x), SPECTRAL_F64) == {}


@paths
@kinds
def test_gradcheck_of_a_layer(kind: str, path: Path) -> None:
    adapted = Adapted(kind, (4, 6), path=path, count=9).to(torch.float64)
    key = "layer.fourier.default.coefficients"
    values = adapted.coefficients.detach().clone().requires_grad_()

    def by_coefficients(c: Tensor) -> Tensor:
        return cast("Tensor", torch.func.functional_call(adapted.model, {key: c}, (adapted.x,)))

    assert torch.autograd.gradcheck(by_coefficients, values)
    if kind != "embedding":
        assert torch.autograd.gradcheck(adapted.model, adapted.x.clone().requires_grad_())


@paths
@kinds
def test_checkpointing_changes_no_bit(kind: str, path: Path) -> None:
    adapted = Adapted(kind, path=path).to(torch.float32)
    plain = adapted.got()
    x = adapted.x.clone().requires_grad_(adapted.x.is_floating_point())

    adapted.member.zero_grad()
    y = checkpoint(adapted.model, x, use_reentrant=False)
    assert isinstance(y, Tensor)
    y.backward(adapted.g(y))

    assert torch.equal(y, plain["y"])
    assert adapted.coefficients.grad is not None
    assert torch.equal(adapted.coefficients.grad, plain["coefficients"])
    assert x.grad is None or torch.equal(x.grad, plain["x"])


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
@paths
@kinds
def test_evaluation_computes_the_same(kind: str, path: Path, mode: str) -> None:
    """There the sum of both weights is cached, until coefficients change."""
    adapted = Adapted(kind, path=path).to(torch.float64)
    adapted.model.eval()
    for factor in (1.0, -3.0):
        with torch.no_grad():
            adapted.coefficients.mul_(factor)

        with getattr(torch, mode)():
            twice = [adapted.model(adapted.x) for _ in range(2)]

        expected = adapted.expected(adapted.g(twice[0]))
        assert all(error(y, expected["y"]) < SPECTRAL_F64 for y in twice)


@paths
@kinds
def test_rows_of_a_batch_may_have_it_or_not(kind: str, path: Path) -> None:
    adapted = Adapted(kind, path=path).to(torch.float64)

    with adapter_rows(adapted.model, ["default", None]):
        got = adapted.got()

    g = adapted.g(got["y"])
    with_, without = adapted.expected(g), adapted.expected(g, adapted=False)
    assert error(got["y"][0], with_["y"][0]) < SPECTRAL_F64
    assert error(got["y"][1], without["y"][1]) < SPECTRAL_F64
    first = torch.zeros_like(g)
    first[0] = g[0]
    assert error(got["coefficients"], adapted.expected(first)["coefficients"]) < SPECTRAL_F64


@paths
@kinds
def test_merging_gives_the_same_output(kind: str, path: Path) -> None:
    adapted = Adapted(kind, path=path).to(torch.float64)
    expected = adapted.expected(adapted.g(adapted.model(adapted.x)))

    trainer.merge(adapted.model)

    assert error(adapted.model(adapted.x), expected["y"]) < SPECTRAL_F64


@paths
def test_two_adapters_add_up(path: Path) -> None:
    adapted = Adapted("linear", path=path).to(torch.float64)
    one = adapted.delta()
    config = FourierConfig(target_modules=("layer",), n=30, alpha=80.0, init="normal", path=path)
    attach(adapted.model, config, "other")
    adapted.model.double()

    trainer.set_active(adapted.model, "other")
    other = adapted.model(adapted.x) - adapted.layer.base_forward(adapted.x)
    trainer.set_active(adapted.model, ["default", "other"])
    both = adapted.model(adapted.x) - adapted.layer.base_forward(adapted.x)

    assert other.abs().max() > 0.01
    assert error(both, adapted.x @ one.T + other) < 10 * SPECTRAL_F64


@pytest.mark.parametrize("name", ["out_proj", "linear1", "linear2"])
def test_a_weight_that_its_parent_reads_holds_the_delta(name: str) -> None:
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(12, 3, 20, dropout=0.0, batch_first=True).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    config = FourierConfig(target_modules=(name,), n=40, alpha=90.0, init="normal")
    attach(block, config)
    block.double()
    adapted: Any = block.self_attn.out_proj if name == "out_proj" else getattr(block, name)
    member = adapted.fourier["default"]

    weights = torch.randn(2, 5, 12, dtype=torch.float64)
    (block(x) * weights).sum().backward()

    found = member.coefficients.grad.clone()
    stored = adapted._parameters["weight"]
    step = 1e-6
    numeric = torch.zeros_like(found)
    kept = stored.data.clone()
    for k in range(3):
        sums = []
        for sign in (1, -1):
            with torch.no_grad():
                member.coefficients[k] += sign * step
                sums.append((block(x) * weights).sum())
                member.coefficients[k] -= sign * step
        numeric[k] = (sums[0] - sums[1]) / (2 * step)
    assert torch.equal(stored.data, kept)
    assert torch.allclose(found[:3], numeric[:3], rtol=1e-6)


def test_the_reference_is_torch_own_for_a_plain_layer() -> None:
    """What the tests above compare with is not the trainer under another name."""
    adapted = Adapted("linear").to(torch.float64)
    plain = adapted.expected(torch.ones(2, 5, 18), adapted=False)

    y = functional.linear(adapted.x, adapted.layer.weight, adapted.layer.bias)

    assert torch.equal(plain["y"], y)
