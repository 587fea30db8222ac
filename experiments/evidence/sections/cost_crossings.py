"""Where FourierFT becomes cheaper than a LoRA: by the model, and as it was measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from experiments.cost import crossings
from experiments.cost.model import Study, crossing
from experiments.cost.points import AUTO, find, ratios
from experiments.evidence.blocks import Block, Table
from experiments.evidence.formatting import NONE, count, listed
from experiments.records import Record

_MARK = " (?)"
_UP_TO = "\N{LESS-THAN OR EQUAL TO} "
_MEASURED = """\
">" of what was measured: from no width or rank on, up to there, did every round say so. That is not
to be slower: where the rounds disagree, neither is shown."""
_POORLY = "it hangs on what the model explains poorly"
_SMALLER = """\
at the last width or rank that was measured the model's difference is smaller than its own median
error"""
_OTHERWISE = "a measured median says otherwise"
_WIDTHS = """\
From which width on forward and backward of FourierFT take no longer than of LoRA r = {rank}: by the
model, on its cheaper path, beyond {widest} by extrapolation; and measured (auto; in every round,
from there to the largest width):"""
_RANKS = """\
From which rank on a LoRA takes no less than FourierFT's of n = {n}: by the model, beyond r =
{highest} by extrapolation; measured (in every round, of the ranks {ranks}):"""


def crossing_points(
    found: Study, steps: Sequence[Record], n: int, rank: int, poor: Collection[str]
) -> list[Block]:
    """Returns from which width and from which rank on FourierFT's is the cheaper.

    Args:
        found: The model.
        steps: The trials.
        n: Of the table of ranks.
        rank: Of the table of widths.
        poor: Kinds that the model does not explain: what it says of them is marked.
    """
    tokens = sorted({step.trial["tokens"] for step in steps})
    widths = sorted({step.trial["width"] for step in steps})
    ranks = steps[0].trial["ranks"]
    header = [f"{count(t)} tokens, {how}" for t in tokens for how in ("model", "measured")]
    by_width = {
        f"n = {count(size)}": [
            cell
            for t in tokens
            for cell in (
                _model_width(found, steps, t, size, rank, poor), _width(steps, t, size, rank)
            )
        ]
        for size in steps[0].trial["sizes"]
    }  # fmt: skip
    by_rank = {
        str(width): [
            cell
            for t in tokens
            for cell in (_model_rank(found, steps, width, t, n, poor), _rank(steps, width, t, n))
        ]
        for width in widths
    }
    return [
        _WIDTHS.format(rank=rank, widest=count(widths[-1])),
        _table(["", *header], by_width),
        _RANKS.format(n=count(n), highest=max(ranks), ranks=listed([str(each) for each in ranks])),
        _table(["width", *header], by_rank),
        *_warning([cell for rows in (by_width, by_rank) for row in rows.values() for cell in row]),
    ]


@dataclass(frozen=True, slots=True)
class _Cell:
    """A crossing point.

    Attributes:
        text: Where it lies.
        beyond: Whether it was measured and lies beyond what was asked.
        guess: Why the model's is a guess; "" if it is none.
    """

    text: str
    beyond: bool = False
    guess: str = ""


def _table(header: Sequence[str], rows: Mapping[str, Sequence[_Cell]]) -> Table:
    cells = [
        [name, *(cell.text + (_MARK if cell.guess else "") for cell in row)]
        for name, row in rows.items()
    ]
    return Table(header, cells)


def _warning(cells: Sequence[_Cell]) -> list[Block]:
    """Says what the signs mean that stand in the tables."""
    why = list(dict.fromkeys(cell.guess for cell in cells if cell.guess))
    said = [_MEASURED] if any(cell.beyond for cell in cells) else []
    said += [f"(?): a guess, as {'; or '.join(why)}."] if why else []
    return ["\n".join(said)] if said else []


@dataclass(frozen=True, slots=True)
class Place:
    """A width or a rank that was measured.

    Attributes:
        predicted: FourierFT's time over LoRA's by the model.
        measured: The median of the rounds'.
    """

    predicted: float
    measured: float


def _model_width(
    found: Study, steps: Sequence[Record], tokens: int, n: int, rank: int, poor: Collection[str]
) -> _Cell:
    width = crossings.width_from(tokens, n, rank, found.costs)
    path = crossings.path_of(width or crossings.LARGEST, tokens, n, found.costs)
    own = {s.trial["width"]: s.result["arms"] for s in steps if s.trial["tokens"] == tokens}
    places = [_place(found, own[each], each, tokens, n, rank) for each in sorted(own)]
    text = _told(width, crossings.WIDTHS)
    return _Cell(text, guess=guessed(found, path, places, poor))


def _model_rank(
    found: Study, steps: Sequence[Record], width: int, tokens: int, n: int, poor: Collection[str]
) -> _Cell:
    rank = crossings.rank_from(width, tokens, n, found.costs)
    path = crossings.path_of(width, tokens, n, found.costs)
    places = [
        _place(found, step.result["arms"], width, tokens, n, each)
        for step in steps
        if (step.trial["width"], step.trial["tokens"]) == (width, tokens)
        for each in sorted(step.trial["ranks"])
    ]
    text = _told(rank, crossings.RANKS)
    return _Cell(text, guess=guessed(found, path, places, poor))


def _place(
    found: Study, arms: Sequence[dict[str, object]], width: int, tokens: int, n: int, rank: int
) -> Place:
    ours = crossings.step_seconds(width, tokens, n, found.costs)
    predicted = ours / crossings.lora_seconds(width, tokens, rank, found.costs)
    live = find(arms, kind="fourier", size=n, path=AUTO)
    return Place(predicted, ratios(live, find(arms, kind="lora", size=rank)).median)


def guessed(found: Study, path: str, places: Sequence[Place], poor: Collection[str]) -> str:
    """Returns why the model's answer is a guess; "" where it is none.

    Args:
        found: The model.
        path: The path that it finds cheaper.
        places: In order, as far as was measured.
        poor: Kinds that the model does not explain.
    """
    if {path, "lora", "base"} & set(poor):
        return _POORLY
    tested = found.outside or found.inside
    error = max(tested[kind].median for kind in (path, "lora"))
    if places and abs(places[-1].predicted - 1) < error:
        return _SMALLER
    if any((each.predicted > 1) is not (each.measured > 1) for each in places):
        return _OTHERWISE
    return ""


def _width(steps: Sequence[Record], tokens: int, n: int, rank: int) -> _Cell:
    own = {s.trial["width"]: s.result["arms"] for s in steps if s.trial["tokens"] == tokens}
    widths = sorted(own)
    found = crossing(widths, lambda width: _no_slower(own[width], n, rank))
    return _Cell(_told(found, widths), beyond=found is None)


def _rank(steps: Sequence[Record], width: int, tokens: int, n: int) -> _Cell:
    own = [s for s in steps if (s.trial["width"], s.trial["tokens"]) == (width, tokens)]
    if not own:
        return _Cell(NONE)
    arms, ranks = own[0].result["arms"], sorted(own[0].trial["ranks"])
    found = crossing(ranks, lambda rank: _no_slower(arms, n, rank))
    return _Cell(_told(found, ranks), beyond=found is None)


def _no_slower(arms: Sequence[dict[str, object]], n: int, rank: int) -> bool:
    ours = find(arms, kind="fourier", size=n, path=AUTO)
    return ratios(ours, find(arms, kind="lora", size=rank)).most <= 1


def _told(found: int | None, asked: Sequence[int]) -> str:
    """Returns where it crosses; beyond what was asked, or below it, with a sign."""
    if found is None:
        return f"> {count(asked[-1])}"
    return f"{_UP_TO if found == asked[0] > 1 else ''}{count(found)}"
