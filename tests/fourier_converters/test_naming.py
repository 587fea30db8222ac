"""Module names across frameworks: one prefix for the whole adapter, and no guesses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourier_converters.naming import ALIASES, Renaming, renamings

(ATTN,) = ALIASES


@pytest.mark.parametrize(
    ("names", "paths", "expected"),
    [
        (["a.q"], ["a.q", "b.a.q", "q"], [Renaming()]),
        (["a.q"], ["model.a.q", "x"], [Renaming(added="model.")]),
        (["model.enc.q"], ["enc.q", "q2"], [Renaming(removed="model.")]),
        (["a.q"], ["m.a.q", "x.a.q"], [Renaming(added="m."), Renaming(added="x.")]),
        (["a.q", "b.q"], ["m.a.q", "x.a.q", "x.b.q"], [Renaming(added="x.")]),
        (["a.q"], ["ba.q", "aq", "a.qq", "a", ""], [Renaming()]),
        (["layer.1.q"], ["layer.11.q", "1.layer.q", "layer.1.q.k"], [Renaming()]),
        (["q"], [], [Renaming()]),
        (["a.self_attn.q"], ["a.attn.q"], [Renaming(alias=ATTN)]),
        (["a.self_attn.q"], ["m.a.attn.q"], [Renaming(added="m.", alias=ATTN)]),
        (["m.self_attn.q", "m.up"], ["attn.q", "up"], [Renaming(removed="m.", alias=ATTN)]),
        (["a.self_attn.q", "a.up"], ["a.attn.q", "a.up"], [Renaming(alias=ATTN)]),
        (["a.self_attn.q"], ["a.self_attn.q", "a.attn.q"], [Renaming()]),
        (["a.self_attn.q"], ["m.a.self_attn.q", "a.attn.q"], [Renaming(added="m.")]),
        (["a.attn.q"], ["a.self_attn.q"], [Renaming()]),
        (["a.my_self_attn.q"], ["a.my_attn.q"], [Renaming()]),
        ([], ["q"], [Renaming()]),
    ],
)
def test_the_renaming_that_explains_most_names_is_found(
    names: list[str], paths: list[str], expected: list[Renaming]
) -> None:
    assert renamings(names, paths) == expected


def test_one_stacks_layer_is_not_another_stacks() -> None:
    """The adapter's decoder is missing from the base: its names must not mean the encoder's."""
    names = ["decoder.layer.0.q", "decoder.layer.1.q"]

    assert renamings(names, ["layer.0.q", "layer.1.q"]) == [Renaming()]


def test_a_long_prefix_is_no_prefix() -> None:
    assert renamings(["a.b.c.q"], ["q"]) == [Renaming()]
    assert renamings(["a.b.q"], ["q"]) == [Renaming(removed="a.b.")]


def test_a_renaming_says_nothing_of_a_name_without_its_prefix() -> None:
    assert Renaming(removed="bert.")("bert.q") == "q"
    assert Renaming(removed="bert.")("q") is None
    assert Renaming(added="model.")("q") == "model.q"
    assert Renaming()("q") == "q"


@pytest.mark.parametrize(
    ("renaming", "name", "renamed", "said"),
    [
        (Renaming(), "self_attn.q", "self_attn.q", "equal"),
        (Renaming(alias=ATTN), "a.self_attn.q", "a.attn.q", "say 'attn' for 'self_attn'"),
        (Renaming(alias=ATTN), "a.mlp.up", "a.mlp.up", "say 'attn' for 'self_attn'"),
        (
            Renaming(removed="m.", alias=ATTN),
            "m.self_attn.q",
            "attn.q",
            "lack the prefix 'm.' and say 'attn' for 'self_attn'",
        ),
        (Renaming(added="m."), "q", "m.q", "have the prefix 'm.'"),
    ],
)
def test_a_renaming_is_done_and_said(
    renaming: Renaming, name: str, renamed: str, said: str
) -> None:
    assert renaming(name) == renamed
    assert str(renaming) == (said if said == "equal" else f"the base's names {said}")


_PATHS = st.lists(st.sampled_from(["a", "b", "encoder"]), min_size=1, max_size=4).map(".".join)


@given(st.lists(_PATHS, min_size=1), st.lists(_PATHS))
def test_each_renaming_takes_some_name_to_some_path(names: list[str], paths: list[str]) -> None:
    found = renamings(names, paths)

    assert found
    for renaming in found:
        assert renaming == Renaming() or {renaming(name) for name in names} & set(paths)


@given(st.lists(_PATHS), st.lists(_PATHS))
def test_the_order_of_the_names_does_not_matter(names: list[str], paths: list[str]) -> None:
    assert renamings(names, paths) == renamings(names[::-1], paths[::-1])


@given(st.lists(_PATHS, min_size=1), _PATHS)
def test_names_that_are_all_there_are_taken_as_they_are(names: list[str], prefix: str) -> None:
    assert renamings(names, [*names, *(f"{prefix}.{name}" for name in names)]) == [Renaming()]


@given(st.lists(_PATHS, min_size=1), _PATHS)
def test_a_prefix_put_before_all_names_is_found(names: list[str], prefix: str) -> None:
    found = renamings(names, [f"{prefix}.{name}" for name in names])

    assert Renaming(added=f"{prefix}.") in found or found == [Renaming()]
