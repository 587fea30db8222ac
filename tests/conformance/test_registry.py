"""The specification, the registry and the package say the same (spec, clause 10)."""

from __future__ import annotations

import json
import re
from typing import Final

import pytest

from fourier_format import sampling, strict_json, structure
from fourier_format.adapter import KINDS, TRANSFORMS
from fourier_format.codes import CODES
from fourier_format.kinds import LAYOUTS
from tests.conformance import vectors

_SPEC: Final = (vectors.ROOT / "spec" / "fourier-format-1.0.md").read_text("utf-8")
_WAVELETS: Final = json.loads((vectors.ROOT / "spec" / "wavelets-1.0.json").read_text("utf-8"))
_REGISTRY: Final = (vectors.ROOT / "spec" / "registry.md").read_text("utf-8")
_NOT_IN_A_SMALL_FILE: Final = {"E-JSON-SIZE"}
_NOT_OF_READERS: Final = {"E-SAMPLING-MISMATCH", "E-SAMPLING-UNKNOWN"}
_LONGEST_SPEC: Final = 560


def rows_of(anchor: str) -> list[list[str]]:
    """Returns the cells of the first table after `anchor` in the registry."""
    section = _REGISTRY.split(f'<a id="{anchor}"></a>', 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_the_registry_lists_every_error_code_and_no_other() -> None:
    table = {code: (clause, meaning) for code, clause, meaning in rows_of("codes")}

    assert table == {code: tuple(info) for code, info in CODES.items()}


@pytest.mark.parametrize("code", [code for code, info in CODES.items() if info.clause != "-"])
def test_a_code_is_explained_in_its_clause(code: str) -> None:
    clauses = re.split(r'\n(?=#+ <a id=")', _SPEC)
    number = CODES[code].clause

    (clause,) = (c for c in clauses if re.match(rf"#+ <a id=\S+></a>{re.escape(number)} ", c))

    assert code in clause


def test_the_specification_names_no_code_beyond_the_registry() -> None:
    assert set(re.findall(r"\bE-[A-Z][A-Z0-9-]+[A-Z0-9]", _SPEC)) - {"E-JSON"} <= CODES.keys()


def test_the_specification_names_every_field() -> None:
    fields = structure.MANIFEST.fields | structure.TARGET.fields | structure.ENTRY_SET.fields
    fields |= structure.SAMPLING.fields | structure.FINGERPRINTS.fields

    assert {field for field in fields if f"`{field}`" not in _SPEC} == set()


def test_the_specification_is_short() -> None:
    assert len(_SPEC.splitlines()) <= _LONGEST_SPEC


def test_every_link_inside_the_specification_has_its_anchor() -> None:
    for text in (_SPEC, _REGISTRY):
        anchors = set(re.findall(r'<a id="([^"]+)"></a>', text))
        assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def test_the_example_in_the_specification_is_the_smallest_vector() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", _SPEC, re.DOTALL)
    (minimal,) = (v for v in vectors.read("valid") if v.row["id"] == "minimal")

    assert strict_json.loads(text, "example") == minimal.json()["manifest"]


def test_transforms_kinds_and_generators_are_the_registered_ones() -> None:
    transforms = [row[0] for row in rows_of("transforms") if row[1].startswith("defined")]
    kinds = {row[0] for row in rows_of("kinds")}
    layouts = {
        (row[0].strip("`"), row[1].split("`")[1]) for row in rows_of("kinds") if "`" in row[1]
    }
    generators = {(row[1].strip("`"), row[0].strip("`")) for row in rows_of("generators")}

    assert transforms == [f"`{name}`" for name in (*TRANSFORMS[:3], "dwt2:<wavelet>")]
    assert TRANSFORMS[3:] == tuple(f"dwt2:{wavelet}" for wavelet in _WAVELETS)
    assert kinds == {f"`{name}`" for name in KINDS}
    assert layouts == {(kind, layout) for kind, named in LAYOUTS.items() for layout in named}
    assert generators == set(sampling.GENERATORS)


def test_names_of_extensions_match_as_the_registry_says() -> None:
    (pattern,) = re.findall(r"^    (\^\[a-z\].*)$", _REGISTRY, re.MULTILINE)
    examples = [row for row in rows_of("extensions") if len(row) == 3]

    for valid, invalid, _ in examples:
        assert re.fullmatch(pattern, valid.strip("`"))
        assert not re.fullmatch(pattern, invalid.strip("`"))
    assert len(examples) == 5


def test_every_code_that_a_reader_can_report_has_a_vector() -> None:
    of_readers = {code for code, info in CODES.items() if info.clause != "-"} - _NOT_OF_READERS
    alone = {code for v in vectors.index() if len(v.codes) == 1 for code in v.codes}

    assert alone == of_readers - _NOT_IN_A_SMALL_FILE


def test_every_vector_names_a_clause_of_the_specification() -> None:
    clauses = set(re.findall(r'<a id="c([0-9-]+)"></a>', _SPEC))

    assert {v.row["clause"].replace(".", "-") for v in vectors.index()} <= clauses


def test_vectors_are_small() -> None:
    sizes = {path: path.stat().st_size for path in vectors.DIRECTORY.glob("*/*")}

    assert max(sizes.values()) <= 8192
    assert max(size for path, size in sizes.items() if path.suffix != ".h5") <= 4608
    assert json.loads((vectors.DIRECTORY / "index.json").read_text("utf-8"))["vectors"]
