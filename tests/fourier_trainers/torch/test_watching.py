from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fourier_format
from fourier_format.errors import UsageError
from fourier_trainers.torch import FourierConfig, Watch, attach, capture, watch


def model(transform: str = "dft2", **fields: Any) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4))
    config = FourierConfig(target_modules=("0", "2"), n=20, transform=transform, **fields)
    return attach(net, config)


def trained(net: nn.Module, watched: Watch, lr: float, steps: int) -> None:
    """Train a few steps on random data, observed."""
    torch.manual_seed(1)
    x, y = torch.randn(32, 12), torch.randn(32, 4)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr)
    for step in range(steps):
        loss = (net(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        watched.observe(step, loss=loss, optimizer=optimizer)
        optimizer.step()


@pytest.mark.parametrize("transform", ["dft2", "dht2", "dct2", "dwt2:db2"])
def test_the_change_is_that_of_the_captured_adapters_delta_weights(transform: str) -> None:
    net = model(transform, init="normal", gain=3.0, alpha=2.0)
    seen: dict[str, float] = {}
    watched = watch(net, logger=lambda figures, _: seen.update(figures))

    trained(net, watched, lr=1e-3, steps=1)

    net = model(transform, init="normal", gain=3.0, alpha=2.0)  # before that step
    adapter = capture(net)
    for target in adapter.targets:
        delta = torch.from_numpy(fourier_format.delta_weight(adapter, target))
        weight = net.get_submodule(target.name).weight
        assert isinstance(weight, torch.Tensor)
        expected = float(delta.norm() / weight.norm())
        assert seen[f"fourier/change/{target.name}"] == pytest.approx(expected, rel=1e-5)


def test_the_first_start_at_zero_has_a_gradient_and_no_change() -> None:
    net = model()
    seen: dict[str, float] = {}
    watched = watch(net, logger=lambda figures, _: seen.update(figures))

    trained(net, watched, lr=1e-2, steps=1)

    assert seen["fourier/change/0"] == 0
    assert seen["fourier/gradient/0"] > 0


def test_a_rate_like_loras_is_told_with_one_to_try() -> None:
    net = model()
    watched = watch(net, planned_steps=200)

    trained(net, watched, lr=1e-6, steps=40)

    (advice,) = [line for line in watched.advice() if line.kind == "low-learning-rate"]
    assert advice.of == 2
    assert advice.learning_rate is not None
    assert advice.learning_rate >= 1e-4


def test_a_run_that_diverges_is_told() -> None:
    net = model()
    watched = watch(net)

    trained(net, watched, lr=10.0, steps=30)

    (advice,) = watched.advice()
    assert advice.of == len(advice.targets) == 2
    assert advice.severity in {"warning", "problem"}
    assert advice.learning_rate is not None
    assert advice.learning_rate < 0.1


def test_coefficients_that_no_optimizer_holds_are_told() -> None:
    net = model()
    watched = watch(net)
    loss = net(torch.randn(3, 12)).sum()
    loss.backward()
    idle = torch.optim.Adam([nn.Parameter(torch.zeros(1))])

    for step in range(30):
        watched.observe(step, loss=1.0, optimizer=idle)

    assert {f.kind for f in watched.findings() if f.target} == {"frozen"}


def test_the_table_has_a_row_for_each_target_and_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    net = model()
    watched = watch(net)
    trained(net, watched, lr=1e-1, steps=5)

    assert watched.table().row_count == 2
    watched.print()
    assert "change" in capsys.readouterr().out


def test_the_table_shows_whole_names_in_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "encoder_of_some_depth_layer_11_attention_self_query"
    net = attach(
        nn.Sequential(OrderedDict([(name, nn.Linear(4, 4))])),
        FourierConfig(target_modules=(name,), n=4),
    )
    watched = watch(net)
    watched.observe(0)
    watched.print()

    rows = capsys.readouterr().out.splitlines()
    assert "".join(row.split("│")[1].strip() for row in rows if row.count("│") == 6) == name


def test_nothing_observed_is_nothing_found() -> None:
    watched = watch(model())

    assert str(watched) == ""
    assert watched.table().row_count == 0


class Lightning:
    """A logger as Lightning's are called."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.seen |= metrics | {"step": step}


class Wandb:
    """A run as Weights and Biases' are called."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def log(self, data: dict[str, float], step: int) -> None:
        self.seen |= data | {"step": step}


@pytest.mark.parametrize("logger", [Lightning(), Wandb()])
def test_figures_go_to_the_logger(logger: Any) -> None:
    net = model()

    trained(net, watch(net, logger=logger), lr=1e-2, steps=2)

    assert logger.seen.keys() >= {"fourier/loss", "fourier/change/0", "fourier/gradient/2"}


def test_figures_go_to_tensorboard(tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    net = model()
    with tensorboard.SummaryWriter(str(tmp_path)) as writer:
        trained(net, watch(net, logger=writer), lr=1e-2, steps=3)

    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert [e.step for e in read.Scalars("fourier/change/0")] == [0, 1, 2]


def test_what_is_no_logger_is_refused() -> None:
    with pytest.raises(UsageError, match="not a logger"):
        watch(model(), logger=object())


def test_without_rich_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "rich.table", None)

    with pytest.raises(ImportError, match=r"fourier-format\[watch\]"):
        watch(model()).table()


def test_figures_are_mappings_of_plain_numbers() -> None:
    seen: list[Mapping[str, float]] = []
    net = model()

    trained(net, watch(net, logger=lambda figures, _: seen.append(figures)), lr=1e-2, steps=1)

    assert all(type(value) is float for value in seen[0].values())
