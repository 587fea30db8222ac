"""Numbered layers become a grid."""

from __future__ import annotations

import pytest

from fourier_converters.html.blocks import grid


def test_blocks_go_down_by_number_and_modules_across() -> None:
    found = grid([f"model.layers.{i}.{m}" for i in (10, 2) for m in ("q_proj", "mlp.0.up")])

    assert found is not None
    assert found.blocks == (("model.layers.", 2), ("model.layers.", 10))
    assert found.modules == ("q_proj", "mlp.0.up")
    assert found.places["model.layers.10.mlp.0.up"] == (1, 1)


def test_stacks_stay_apart() -> None:
    found = grid([f"{side}.{i}.q" for side in ("encoder", "decoder") for i in range(2)])

    assert found is not None
    assert found.blocks == (("encoder.", 0), ("encoder.", 1), ("decoder.", 0), ("decoder.", 1))


def test_stacks_that_differ_by_their_separator_alone_stay_apart() -> None:
    found = grid(["layers.0.q", "layers_0.q", "layers.1.q"])

    assert found is not None
    assert found.blocks == (("layers.", 0), ("layers.", 1), ("layers_", 0))
    assert len(set(found.places.values())) == 3


@pytest.mark.parametrize("names", [["0.1.q", "1.1.q"], [".0.1.q", ".1.1.q"]])
def test_the_first_number_is_the_blocks(names: list[str]) -> None:
    found = grid(names)

    assert found is not None
    assert found.modules == ("1.q",)


@pytest.mark.parametrize("name", ["layer_{}/dense", "{}.q", "h/{}/q"])
def test_other_ways_to_number(name: str) -> None:
    found = grid([name.format(i) for i in range(3)])

    assert found is not None
    assert [number for _, number in found.blocks] == [0, 1, 2]


@pytest.mark.parametrize(
    "names",
    [
        ["classifier"],
        ["a.query", "a.value"],
        ["layers.0.q", "layers.0.v"],
        [f"layers.{i}.experts.{j}.up" for i in range(2) for j in range(40)],
        [f"layers.{i}.q" for i in range(1000)],
        ["layers.0.q", "layers.0/q", "layers.1.q"],
        ["layers.1.q", "layers.01.q", "layers.2.q"],
    ],
)
def test_what_is_no_grid_at_a_glance_is_none(names: list[str]) -> None:
    assert grid(names) is None
