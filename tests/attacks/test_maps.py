"""Map files of nonsense: a map comes from whoever sent the base, or from a generator."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.attacks.attack import Attack, linear

ROWS: list[Any] = [
    *([], [0], [0, 1, 2], "0:48", {"0": 48}, 48, None, True),
    *([0, "48"], [0.5, 48], [None, None], [[0], [48]], [False, True]),
    *([-1, 47], [-48, -1], [48, 0], [5, 5], [0, 0], [48, 96], [0, 49]),
    *([0, 2**31], [0, 2**63], [2**64, 2**65], [-(2**63), 48], [0, 10**4000]),
]
ENTRIES: list[Any] = [
    *({"initializer": ""}, {"initializer": "../secret.data"}, {"initializer": "\x1b[2J"}),
    *({"node": ["\0"] * 1000}, {"initializer": []}, {"unknown": 1}, {"skip": "no"}),
    *([], None, 1, "w", {"initializer": {"a": 1}}, {"layout": "__class__"}, {"weight": "/etc"}),
]
TEXTS = [
    *("", "{", "[" * 100_000, '{"targets": {"q": {}, "q": {}}}', "null", "[]", "\ufeff{}"),
    *('{"targets": NaN}', '{"targets": {"q": {"rows": [0, 1e999]}}}', "9" * 10_000),
    '{"targets": {"' + "x" * 1000 + '": {}}}',
]


def with_map(attack: Attack, text: str) -> None:
    attack.inline(linear())
    path = attack.around / "map.json"
    path.write_text(text)
    attack.convert("--map", path)


@pytest.mark.parametrize("rows", ROWS, ids=lambda rows: str(rows)[:20])
def test_rows_of_nonsense_are_refused(rows: Any, attack: Attack) -> None:
    text = json.dumps({"targets": {"q": {"initializer": "w", "rows": rows}}})

    with_map(attack, text)

    assert attack.code in {1, 2}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry)[:20])
def test_entries_of_nonsense_are_refused(entry: Any, attack: Attack) -> None:
    with_map(attack, json.dumps({"targets": {"q": entry}}))

    assert attack.code in {1, 2} or entry == {"initializer": []}


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text[:20]))
def test_files_of_nonsense_are_refused(text: str, attack: Attack) -> None:
    with_map(attack, text)

    assert attack.code == 2
