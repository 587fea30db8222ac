"""Made-up rows in the files of the real data sets, for where these are absent."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_ROWS = 120
_AREAS = ("riverside", "city centre")
_BOATS = ("red", "green", "old")


def write(data: Path) -> None:
    """Write small sets of E2E, MRPC, STS-B and SST-2 into the folder `data`."""
    for name in ("trainset", "devset", "testset_w_refs"):
        _write(data / "e2e" / f"{name}.csv", ["mr,ref", *_restaurants()])
    for name in ("train", "dev", "test"):
        _write(data / "mrpc" / f"{name}.tsv", map("\t".join, [_MRPC, *_paraphrases()]))
        _write(data / "stsb" / f"sts-{name}.csv", map("\t".join, _likenesses()))
        above = [] if name == "test" else [("sentence", "label")]
        _write(data / "sst2" / f"{name}.tsv", map("\t".join, [*above, *_opinions()]))


def _restaurants() -> Iterable[str]:
    """Gives two sentences of each meaning."""
    for k in range(_ROWS):
        meaning = f'"name[Inn {k}], area[{_AREAS[k % 2]}]"'
        yield f"{meaning},Inn {k} is a pub."
        yield f"{meaning},There is a pub called Inn {k}."


_MRPC = ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String")


def _paraphrases() -> Iterable[tuple[str, ...]]:
    for k in range(_ROWS):
        first = f"The {_BOATS[k % 3]} boat left pier {k} at noon ."
        others = (f"Bus {k} stopped in the rain .", f"At noon boat {k}, {_BOATS[k % 3]}, left .")
        yield str(k % 2), str(2 * k), str(2 * k + 1), first, others[k % 2]


def _likenesses() -> Iterable[tuple[str, ...]]:
    """Gives pairs whose score is how many of five words they share."""
    words = ["one", "two", "three", "four", "five"]
    for k in range(_ROWS):
        alike = k % 6
        other = [*words[:alike], *("ten" for _ in words[alike:])]
        score = f"{alike:.3f}"
        yield (
            "made",
            "up",
            "2020",
            str(k),
            score,
            f"{k} {' '.join(words)}",
            f"{k} {' '.join(other)}",
        )


def _opinions() -> Iterable[tuple[str, ...]]:
    for k in range(_ROWS):
        yield f"film {k} is {('dull', 'a joy')[k % 2]} ", str(k % 2)


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")
