"""Map files: what they may say, and that spelling mistakes do not pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fourier_converters.mapping import Map, MapEntry, map_schema, read_map
from fourier_format.errors import FileAccessError, UsageError

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "map.md"


def written(folder: Path, value: Any) -> Path:
    path = folder / "map.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    return path


def test_a_map_says_what_it_says(tmp_path: Path) -> None:
    value: dict[str, Any] = {
        "layout": "in_out",
        "targets": {"a": {"initializer": "x"}, "b": {"node": "n"}, "c": {"skip": True}},
        "replacements": {"h.weight": {"initializer": "y", "layout": "out_in"}},
    }
    value["targets"]["d"] = {"node": ["n", "m"], "rows": [0, 8], "explanation": {"found": 1}}

    found = read_map(written(tmp_path, value))

    assert found.layout == "in_out"
    assert found.target("a") == MapEntry(initializers=("x",))
    assert found.target("b") == MapEntry(nodes=("n",))
    assert found.target("c") == MapEntry(skip=True)
    assert found.target("d") == MapEntry(nodes=("n", "m"), rows=(0, 8))
    assert found.replacement("h.weight") == MapEntry(initializers=("y",), layout="out_in")
    assert found.target("h.weight") == found.replacement("a") == MapEntry()


def test_the_documentations_example_is_valid(tmp_path: Path) -> None:
    text = DOCUMENTATION.read_text("utf-8")
    example = text.split("```json\n")[1].split("```")[0]

    found = read_map(written(tmp_path, example))

    assert len(found.targets) == 4


def test_the_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(map_schema())


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ([], "$"),
        ({"target": {}}, "$"),
        ({"layout": "transposed"}, "$.layout"),
        ({"targets": []}, "$.targets"),
        ({"targets": {"a": {}}}, "$.targets.a"),
        ({"targets": {"a": "x"}}, "$.targets.a"),
        ({"targets": {"a": {"skip": False}}}, "$.targets.a.skip"),
        ({"targets": {"a": {"skip": 1}}}, "$.targets.a.skip"),
        ({"targets": {"a": {"initialiser": "x"}}}, "$.targets.a"),
        ({"targets": {"a": {"initializer": 3}}}, "$.targets.a.initializer"),
        ({"targets": {"a": {"node": []}}}, "$.targets.a.node"),
        ({"targets": {"a": {"rows": [4]}}}, "$.targets.a.rows"),
        ({"replacements": {"a": {"layout": "oi"}}}, "$.replacements.a.layout"),
    ],
)
def test_what_the_schema_does_not_allow_is_refused(value: Any, where: str, tmp_path: Path) -> None:
    path = written(tmp_path, value)

    with pytest.raises(UsageError) as caught:
        read_map(path)

    (violation,) = caught.value.violations
    assert violation.code == "E-MAP"
    assert violation.where == f"{path}, {where}"


def test_all_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    value = {"layout": "x", "targets": {"a": {}, "b": {"skip": 0}}}

    with pytest.raises(UsageError) as caught:
        read_map(written(tmp_path, value))

    assert len(caught.value.violations) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON"),
        ('{"targets": {"a": {"skip": true}, "a": {"node": "n"}}}', "twice"),
        ("[" * 99, "deep"),
        ('{"layout": NaN}', "finite"),
    ],
    ids=["empty", "duplicate key", "depth", "NaN"],
)
def test_a_map_is_strict_json(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        read_map(written(tmp_path, text))

    assert caught.value.code == "E-MAP"
    assert "map.json" in caught.value.violations[0].where


@pytest.mark.parametrize(
    ("onnx", "field", "entry"),
    [
        (True, "weight", MapEntry(weight="x")),
        (False, "initializer", MapEntry(initializers=("x",))),
        (False, "node", MapEntry(nodes=("x",))),
        (False, "rows", MapEntry(rows=(0, 4))),
    ],
)
def test_a_field_that_means_nothing_for_the_base_is_refused(
    onnx: bool, field: str, entry: MapEntry
) -> None:
    found = Map(targets={"a": entry, "b": MapEntry(layout="out_in")})

    with pytest.raises(UsageError) as caught:
        found.check_fields(onnx, "map.json")

    assert [v.where for v in caught.value.violations] == [f"map.json, targets.a.{field}"]
    if field != "rows":
        found.check_fields(not onnx, "map.json")


def test_fields_that_mean_nothing_are_refused_for_replacements_too() -> None:
    entries = {"h": MapEntry(weight="w"), "i": MapEntry(nodes=("n",))}
    found = Map(replacements=entries)

    for onnx, field in ((True, "h.weight"), (False, "i.node")):
        with pytest.raises(UsageError) as caught:
            found.check_fields(onnx, "map.json")

        assert [v.where for v in caught.value.violations] == [f"map.json, replacements.{field}"]


def test_rows_alone_say_nothing() -> None:
    entries = {"a": MapEntry(rows=(0, 4)), "b": MapEntry(rows=(0, 4), nodes=("n",))}

    with pytest.raises(UsageError) as caught:
        Map(targets=entries).check_fields(onnx=True, path="map.json")

    assert [str(v.where) for v in caught.value.violations] == ["map.json, targets.a.rows"]


def test_a_map_that_is_not_there_is_trouble_with_files(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match=r"map\.json"):
        read_map(tmp_path / "map.json")


def test_names_that_the_adapter_does_not_have_are_all_refused() -> None:
    entry = MapEntry(skip=True)
    found = Map(targets={"a": entry, "b": entry}, replacements={"h": entry, "a": entry})

    with pytest.raises(UsageError) as caught:
        found.check_names({"a"}, {"h"}, "map.json")

    assert [v.where for v in caught.value.violations] == [
        "map.json, targets.b",
        "map.json, replacements.a",
    ]


def test_names_that_the_adapter_has_are_accepted() -> None:
    found = Map(targets={"a": MapEntry(skip=True)}, replacements={"h": MapEntry(nodes=("n",))})

    found.check_names({"a", "b"}, {"h"}, "map.json")
