"""Instructions: of a file, or made from E2E's rows."""

import json
from pathlib import Path

import pytest

from experiments.causal.rows import IGNORED
from experiments.causal.toys import byte_tokenizer
from experiments.instruction.data import Example, prompt, rows, splits


def _file(folder: Path, lines: list[str]) -> Path:
    path = folder / "instructions.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_file_of_anyones_is_read(tmp_path: Path) -> None:
    lines = [
        json.dumps({"instruction": "Add.", "input": "1 + 1", "output": "2"}),
        "",
        json.dumps({"instruction": "Greet.", "output": "Hello."}),
    ]

    found = splits("jsonl", _file(tmp_path, lines), None)

    examples = sorted([*found.train, *found.choose], key=lambda each: each.number)
    assert examples == [Example(0, 0, "Add.", "1 + 1", "2"), Example(2, 2, "Greet.", "", "Hello.")]
    assert len(found.choose) == 1


@pytest.mark.parametrize("line", ['{"instruction": "Add."}', "[]", "{"])
def test_a_line_that_is_no_example_is_named(line: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"jsonl, line 1: not instruction, input and output"):
        splits("jsonl", _file(tmp_path, [line]), None)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"give a JSONL file .* with --data"):
        splits("jsonl", tmp_path, None)


def test_three_tasks_are_made_of_e2e(tmp_path: Path) -> None:
    (tmp_path / "e2e").mkdir()
    lines = [f'"name[Place {k}], area[x]","It is place {k}."' for k in range(3)]
    (tmp_path / "e2e" / "devset.csv").write_text("\n".join(["mr,ref", *lines]) + "\n")

    found = splits("e2e", tmp_path, None)

    examples = sorted([*found.train, *found.choose], key=lambda each: each.number)
    assert [(each.input, each.output) for each in examples] == [
        ("name[Place 0], area[x]", "It is place 0."),
        ("It is place 1.", "name[Place 1], area[x]"),
        ("It is place 2.", "Place 2"),
    ]


def test_only_the_answer_is_learned_and_a_long_one_is_cut() -> None:
    tokenizer = byte_tokenizer()
    example = Example(0, 0, "Add.", "", "two")
    asked = len(prompt(tokenizer, example))

    (whole,) = rows(tokenizer, [example], 1000)
    (cut,) = rows(tokenizer, [example], asked + 2)

    said = [label for label in whole.labels if label != IGNORED]
    assert tokenizer.decode(said) == "two</s>"
    assert cut.answered == 2


def test_a_prompt_that_leaves_no_room_for_an_answer_is_left_out() -> None:
    """A prompt that was cut would not end with what an answer follows."""
    tokenizer = byte_tokenizer()
    short, long = (Example(k, k, "Add.", given, "two") for k, given in enumerate(("1", "1" * 99)))
    asked = prompt(tokenizer, short)

    found = rows(tokenizer, [long, short], len(asked) + 9)

    assert [each.tokens[: len(asked)].tolist() for each in found] == [asked]
    assert rows(tokenizer, [short], len(asked)) == []


def test_no_meaning_of_e2e_is_trained_on_and_apart(tmp_path: Path) -> None:
    (tmp_path / "e2e").mkdir()
    lines = [f'"name[Place {k}], area[x]","{k}, said {turn}"' for k in range(20) for turn in "abcd"]
    (tmp_path / "e2e" / "devset.csv").write_text("\n".join(["mr,ref", *lines]) + "\n")

    found = splits("e2e", tmp_path, 60)

    trained, apart = ({each.group for each in part} for part in (found.train, found.choose))
    assert not trained & apart
    assert len(found.train) + len(found.choose) == 60
    assert 6 <= len(found.choose) < 10
