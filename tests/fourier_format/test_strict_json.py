"""JSON has one meaning in every language, or is refused with a code (spec, clause 5.1)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourier_format import strict_json
from fourier_format.errors import InvalidAdapterError
from fourier_format.limits import MAX_JSON_DEPTH, MAX_MANIFEST_BYTES, MAX_SAFE_INTEGER
from tests.strategies import json_values

REFUSED = [
    ("", "E-JSON-SYNTAX"),
    ("{", "E-JSON-SYNTAX"),
    ("[1,]", "E-JSON-SYNTAX"),
    ("{'a':1}", "E-JSON-SYNTAX"),
    ("[1] []", "E-JSON-SYNTAX"),
    ("\ufeff{}", "E-JSON-SYNTAX"),
    ('"line\nfeed"', "E-JSON-SYNTAX"),
    ('"\\x"', "E-JSON-SYNTAX"),
    ('"open', "E-JSON-SYNTAX"),
    ('"open\\', "E-JSON-SYNTAX"),
    ("01", "E-JSON-SYNTAX"),
    ("+1", "E-JSON-SYNTAX"),
    (".5", "E-JSON-SYNTAX"),
    ("1.", "E-JSON-SYNTAX"),
    ("// no\n1", "E-JSON-SYNTAX"),
    ('{"a":1,"a":1}', "E-JSON-DUPLICATE-KEY"),
    ('[{"x":{"a":1,"\\u0061":2}}]', "E-JSON-DUPLICATE-KEY"),
    ("NaN", "E-JSON-NUMBER"),
    ("[Infinity]", "E-JSON-NUMBER"),
    ('{"a":-Infinity}', "E-JSON-NUMBER"),
    ("1e999", "E-JSON-NUMBER"),
    ("-1e309", "E-JSON-NUMBER"),
    ("9007199254740992", "E-JSON-NUMBER"),
    ("-9007199254740992", "E-JSON-NUMBER"),
    ("9" * 5000, "E-JSON-NUMBER"),
    ("[" * 33 + "]" * 33, "E-JSON-DEPTH"),
    ('{"a":' * 33 + "1" + "}" * 33, "E-JSON-DEPTH"),
    ("[" * 100_000, "E-JSON-DEPTH"),
    ('"\\ud800"', "E-JSON-SURROGATE"),
    ('"\\uDC00\\uD800"', "E-JSON-SURROGATE"),
    ('{"\\udfff":1}', "E-JSON-SURROGATE"),
    ('[["a",{"b":"\\uD83Dx"}]]', "E-JSON-SURROGATE"),
    ('"\ud800"', "E-JSON-SURROGATE"),
]


@pytest.mark.parametrize(("text", "code"), REFUSED)
def test_json_that_parsers_read_differently_is_refused(text: str, code: str) -> None:
    with pytest.raises(InvalidAdapterError) as caught:
        strict_json.loads(text, "the header")

    assert caught.value.code == code
    assert caught.value.violations[0].where.startswith("the header")


def test_a_syntax_error_is_located_by_line_and_column() -> None:
    with pytest.raises(InvalidAdapterError) as caught:
        strict_json.loads('{\n "a": oops}', "manifest")

    assert caught.value.violations[0].where == "manifest, line 2, column 7"


def test_the_size_limit_counts_bytes_of_utf8_and_not_characters() -> None:
    text = '"éé"'  # 4 characters, 6 bytes

    assert strict_json.loads(text, "m", max_bytes=6) == "éé"
    with pytest.raises(InvalidAdapterError) as caught:
        strict_json.loads(text, "m", max_bytes=5)
    assert caught.value.code == "E-JSON-SIZE"


def test_a_manifest_one_byte_beyond_the_limit_is_refused() -> None:
    longest = '"' + "x" * (MAX_MANIFEST_BYTES - 2) + '"'

    assert len(strict_json.loads(longest, "m")) == MAX_MANIFEST_BYTES - 2
    with pytest.raises(InvalidAdapterError) as caught:
        strict_json.loads(longest + " ", "m")
    assert caught.value.code == "E-JSON-SIZE"


def test_the_deepest_and_the_largest_that_are_allowed_are_read() -> None:
    deepest = "[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH

    assert str(strict_json.loads(deepest, "m")) == deepest
    assert strict_json.loads(str(MAX_SAFE_INTEGER), "m") == MAX_SAFE_INTEGER
    assert strict_json.loads(str(-MAX_SAFE_INTEGER), "m") == -MAX_SAFE_INTEGER
    assert strict_json.loads("1.7976931348623157e308", "m") == 1.7976931348623157e308
    assert strict_json.loads("1e-400", "m") == 0.0


def test_brackets_inside_strings_are_no_nesting() -> None:
    assert strict_json.loads('["' + "[{" * 50 + '\\"[\\\\"]', "m") == ["[{" * 50 + '"[\\']


def test_a_pair_of_surrogate_escapes_is_one_character() -> None:
    assert strict_json.loads('"\\ud83d\\ude42"', "m") == "🙂"


def test_dumps_is_compact_and_escapes_no_more_than_json_must() -> None:
    value = {"b": [1, 2.5, None, True], "a": 'é"\\\n\u2028🙂'}

    text = strict_json.dumps(value)

    assert text == '{"b":[1,2.5,null,true],"a":"é\\"\\\\\\n\u2028🙂"}'


@given(json_values)
def test_what_dumps_writes_loads_reads(value: object) -> None:
    assert strict_json.loads(strict_json.dumps(value), "m") == value


@given(json_values)
def test_json_with_other_spaces_and_escapes_has_the_same_meaning(value: object) -> None:
    text = json.dumps(value, indent=3, ensure_ascii=True)

    assert strict_json.loads(text, "m") == value


@given(st.text(alphabet='[]{}",:\\ud8cDfe019-+. \nNaInty', max_size=40))
def test_arbitrary_text_is_read_as_python_reads_it_or_refused(text: str) -> None:
    try:
        value = strict_json.loads(text, "m")
    except InvalidAdapterError:
        return

    assert value == json.loads(text)
