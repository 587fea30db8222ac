"""E2E's meanings: read, divided, and turned into rows."""

from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing

from experiments.causal.rows import IGNORED
from experiments.causal.toys import byte_tokenizer
from experiments.generation.e2e import Meaning, answer, prompt, read, rows, splits


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with 30 meanings of two references in each file."""
    folder = tmp_path / "e2e"
    folder.mkdir()
    for name in ("devset", "testset_w_refs"):
        lines = [
            f'"name[{name}{k}], area[x]","{k}, said {turn}"' for k in range(30) for turn in "ab"
        ]
        (folder / f"{name}.csv").write_text("\n".join(["mr,ref", *lines]) + "\n")
    return tmp_path


def test_references_of_one_meaning_belong_together(data: Path) -> None:
    found = read(data, "devset")

    assert len(found) == 30
    assert found[3] == Meaning(3, "name[devset3], area[x]", ("3, said a", "3, said b"), (6, 7))


def test_a_tenth_of_the_meanings_chooses_and_is_never_trained_on(data: Path) -> None:
    found = splits(data, "devset", None, None)

    chosen, trained = ({each.number for each in part} for part in (found.choose, found.train))
    assert len(chosen) == 3
    assert chosen | trained == set(range(30))
    assert not chosen & trained
    assert len(found.report) == found.test == 30


def test_what_is_drawn_is_the_same_each_time(data: Path) -> None:
    found, again = (splits(data, "devset", 5, 7) for _ in range(2))

    assert found == again
    assert len(found.train) == 5
    assert found.test == 30
    numbers = [each.number for each in found.report]
    assert len(numbers) == 7
    assert numbers == sorted(numbers)


def test_the_paper_trains_on_what_is_not_to_be_had_here(data: Path) -> None:
    with pytest.raises(SystemExit, match=r"trainset.csv is missing: .* --data"):
        splits(data, "trainset", None, None)


def test_rows_hold_so_many_references() -> None:
    tokenizer = byte_tokenizer()
    meaning = Meaning(0, "name[A]", ("one", "two", "three"), (0, 1, 2))

    found = rows(tokenizer, [meaning], together=2, most=None)

    assert [int(each.part.max()) for each in found] == [2, 1]
    said = [label for label in found[0].labels if label != IGNORED]
    assert tokenizer.decode(said[:-1]) == " one</s> two"
    assert said[-1] == tokenizer.eos_token_id
    assert sum(int(each.part.max()) for each in rows(tokenizer, [meaning], 1, 2)) == 2


def test_a_model_without_chat_is_given_plain_text() -> None:
    tokenizer = byte_tokenizer()
    meaning = Meaning(0, "name[A]", ("one",), (0,))

    assert tokenizer.decode(prompt(tokenizer, meaning)) == "name[A] ||"
    assert answer(tokenizer, "one")[-1] == tokenizer.eos_token_id


def test_an_answer_holds_no_token_that_begins_a_text() -> None:
    """A tokenizer that puts one before every text, as Llama's does."""
    tokenizer = byte_tokenizer()
    plain = answer(tokenizer, "one")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    assert tokenizer("one")["input_ids"][0] == tokenizer.bos_token_id

    assert answer(tokenizer, "one") == plain
    assert prompt(tokenizer, Meaning(0, "name[A]", (), ()))[0] == tokenizer.bos_token_id
