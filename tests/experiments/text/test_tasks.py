"""Each task's files give what trains, what chooses and what reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.text.tasks import TASKS, Splits, splits

PARTS = ("train", "dev", "test")


def _write(path: Path, header: str | None, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    above = [] if header is None else [header]
    path.write_text("".join(f"{line}\n" for line in [*above, *lines]), "utf-8")


def test_mrpc_chooses_on_dev_and_reports_on_test(tmp_path: Path) -> None:
    for part in PARTS:
        header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
        _write(tmp_path / "mrpc" / f"{part}.tsv", header, [f'1\t7\t8\t"{part}\tb', "0\t9\t9\tc\td"])

    found = splits(TASKS["mrpc"], tmp_path)

    assert found.train.first == ['"train', "c"]  # quotes are characters
    assert (found.choose.first[0], found.report.first[0]) == ('"dev', '"test')
    assert found.report.second == ["b", "d"]
    assert found.report.labels.tolist() == [1.0, 0.0]
    assert found.report.ids == [0, 1]


def test_scores_of_stsb_are_divided_by_five(tmp_path: Path) -> None:
    for part, score in zip(PARTS, ("5.000", "2.5", "1.25"), strict=True):
        line = f"genre\tfile\tyear\t12\t{score}\t{part} one\t{part} two"
        _write(tmp_path / "stsb" / f"sts-{part}.csv", None, [line])

    found = splits(TASKS["stsb"], tmp_path)

    assert [part.labels.tolist() for part in (found.train, found.choose, found.report)] == [
        [1.0],
        [0.5],
        [0.25],
    ]
    assert (found.report.first, found.report.second) == (["test one"], ["test two"])


def test_the_test_of_sst2_has_no_header(tmp_path: Path) -> None:
    for part in ("train", "dev"):
        _write(tmp_path / "sst2" / f"{part}.tsv", "sentence\tlabel", [f"{part} row\t1"])
    _write(tmp_path / "sst2" / "test.tsv", None, ["first row\t0", "second row\t1"])

    found = splits(TASKS["sst2"], tmp_path)

    assert (found.train.first, found.choose.first) == (["train row"], ["dev row"])
    assert found.report.first == ["first row", "second row"]
    assert found.report.labels.tolist() == [0.0, 1.0]


def _tenths(folder: Path, task: str, header: str | None, row: str) -> Splits:
    """Returns the splits of 40 rows of train and 3 of dev; `row` takes a number and a label."""
    for part, count in (("train", 40), ("dev", 3)):
        _write(
            folder / f"{part}.tsv", header, [row.format(f"{part} {k}", k % 2) for k in range(count)]
        )
    return splits(TASKS[task], folder.parent)


@pytest.mark.parametrize(
    ("task", "folder", "header", "row", "labels"),
    [
        ("cola", "CoLA", None, "source\t{1}\t*\t{0}", [0.0, 1.0, 0.0]),
        (
            "rte",
            "RTE",
            "index\tsentence1\tsentence2\tlabel",
            "9\t{0}\tsecond\t{1}",
            [0.0, 0.0, 0.0],
        ),
    ],
)
def test_a_tenth_of_train_chooses_and_dev_reports_where_no_test_has_labels(
    tmp_path: Path, task: str, folder: str, header: str | None, row: str, labels: list[float]
) -> None:
    found = _tenths(tmp_path / folder, task, header, row)

    assert len(found.choose) == 4
    assert {*found.train.first, *found.choose.first} == {f"train {k}" for k in range(40)}
    assert found.train.ids == [int(each.split()[1]) for each in found.train.first]
    assert found.report.first == ["dev 0", "dev 1", "dev 2"]
    assert found.report.labels.tolist() == labels
    assert TASKS[task].reported == "dev"


@pytest.mark.parametrize(
    ("task", "folder", "first"), [("rte", "RTE", "sentence1"), ("qnli", "QNLI", "question")]
)
def test_not_entailed_is_class_1(tmp_path: Path, task: str, folder: str, first: str) -> None:
    second = "sentence2" if task == "rte" else "sentence"
    lines = [
        f"1\ta {k}\tb\t{label}" for k, label in enumerate(("entailment", "not_entailment") * 10)
    ]
    for part in ("train", "dev"):
        _write(tmp_path / folder / f"{part}.tsv", f"index\t{first}\t{second}\tlabel", lines)

    found = splits(TASKS[task], tmp_path)

    assert found.report.labels.tolist()[:2] == [0.0, 1.0]


def test_rows_are_drawn_of_train_alone_unless_few_are_asked_for(tmp_path: Path) -> None:
    lines = [f"row {k}\t{k % 2}" for k in range(300)]
    for part in ("train", "dev"):
        _write(tmp_path / "sst2" / f"{part}.tsv", "sentence\tlabel", lines)
    _write(tmp_path / "sst2" / "test.tsv", None, lines)

    many, few = (splits(TASKS["sst2"], tmp_path, rows) for rows in (120, 20))

    assert [len(part) for part in (many.train, many.choose, many.report)] == [120, 300, 300]
    assert [len(part) for part in (few.train, few.choose, few.report)] == [20, 20, 20]
    assert many.train.ids == sorted(set(many.train.ids))
    assert many.train.first == [f"row {k}" for k in many.train.ids]
    assert splits(TASKS["sst2"], tmp_path, 120).train.ids == many.train.ids


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"train\.tsv is missing: .*--data"):
        splits(TASKS["mrpc"], tmp_path)
