from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fourier_format.adapter import Sampling
from fourier_format.assembly import Piece, assemble
from fourier_format.dtypes import BFLOAT16
from fourier_format.fingerprint import fingerprint

ENTRIES = np.array([[0, 1], [2, 3], [1, 1]], np.int32)


def piece(name: str, shape: tuple[int, int] = (4, 6), **fields: Any) -> Piece:
    values = np.arange(3, dtype=np.float32) + len(name)
    given: dict[str, Any] = {"entries": ENTRIES, "coefficients": values, "kind": "linear"} | fields
    return Piece(name=name, shape=shape, **given)


def test_targets_of_one_shape_and_equal_entries_share_a_set_in_order() -> None:
    sets, targets = assemble([piece("a"), piece("bb"), piece("c", (5, 6))])

    assert [s.id for s in sets] == ["4x6", "5x6"]
    assert [(t.name, t.entries, t.row) for t in targets] == [
        ("a", "4x6", 0),
        ("bb", "4x6", 1),
        ("c", "5x6", 0),
    ]
    assert sets[0].coefficients.tolist() == [[1, 2, 3], [2, 3, 4]]


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        ({"entries": ENTRIES[:2], "coefficients": np.ones(2, np.float32)}, ["4x6-n3", "4x6-n2"]),
        ({"coefficients": np.ones(3, BFLOAT16)}, ["4x6-f32", "4x6-bf16"]),
        ({"entries": ENTRIES[::-1]}, ["4x6", "4x6-2"]),
        (
            {"fingerprint": fingerprint(np.ones((4, 6), np.float16), "w")},
            ["4x6-of-none", "4x6-of-f16"],
        ),
    ],
)
def test_what_differs_is_in_a_set_of_its_own_whose_id_says_how(
    fields: dict[str, Any], ids: list[str]
) -> None:
    sets, targets = assemble([piece("a"), piece("b", **fields)])

    assert [s.id for s in sets] == ids
    assert [t.entries for t in targets] == ids


def test_a_recipe_that_one_target_knows_is_the_sets() -> None:
    recipe = Sampling(method="explicit")

    sets, _ = assemble([piece("a"), piece("b", sampling=recipe)])

    assert sets[0].sampling == recipe


def test_a_target_keeps_its_own_alpha() -> None:
    _, targets = assemble([piece("a", alpha=2.0), piece("b")])

    assert [t.alpha for t in targets] == [2.0, None]
