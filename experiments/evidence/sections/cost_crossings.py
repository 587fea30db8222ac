"""Where FourierFT becomes cheaper than a LoRA: by the model, and as it was measured."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from experiments.cost import crossings
from experiments.cost.model import Study, crossing
from experiments.cost.points import AUTO, find, ratios
from experiments.evidence.blocks import Block, Table
from experiments.evidence.formatting import NONE, count, listed
from experiments.records import Record

_MARK = " (?)"
_UP_TO = "\N{LESS-THAN OR EQUAL TO} "
_BEYOND = "> "
_MEASURED = """\
">" of what was measured: at no width or rank up to there did every round say so. That is not to
be slower: where the rounds disagree, neither is shown."""
_GUESS = """\
(?): a guess, as {poor}at the last width or rank that was measured the model's difference is smaller
than its own median error, or a measured median says otherwise."""


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
    by_width, by_rank = [], []
    for size in steps[0].trial["sizes"]:
        cells: list[str] = []
        for t in tokens:
            cells.append(_model_width(found, steps, t, size, rank, poor))
            cells.append(_width(steps, t, size, rank))
        by_width.append([f"n = {count(size)}", *cells])
    for width in widths:
        cells = []
        for t in tokens:
            cells.append(_model_rank(found, steps, width, t, n, poor))
            cells.append(_rank(steps, width, t, n))
        by_rank.append([str(width), *cells])
    marked = [*by_width, *by_rank]
    return [
        (
            "From which width on forward and backward of FourierFT take no longer than of LoRA "
            f"r = {rank}: by the model, on its cheaper path, beyond {count(widths[-1])} by "
            "extrapolation; and measured (auto; in every round, from there to the largest width):"
        ),
        Table(["", *header], by_width),
        (
            f"From which rank on a LoRA takes no less than FourierFT's of n = {count(n)}: by "
            f"the model, beyond r = {max(ranks)} by extrapolation; measured (in every round, of "
            f"the ranks {listed([str(each) for each in ranks])}):"
        ),
        Table(["width", *header], by_rank),
        *_warning(marked, poor),
    ]


def _warning(rows: Sequence[Sequence[str]], poor: Collection[str]) -> list[Block]:
    said = [_MEASURED] if any(cell.startswith(_BEYOND) for row in rows for cell in row) else []
    if any(cell.endswith(_MARK) for row in rows for cell in row):
        hangs = f"it hangs by what the model explains poorly ({listed(sorted(poor))}), or "
        said.append(_GUESS.format(poor=hangs if poor else ""))
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
) -> str:
    width = crossings.width_from(tokens, n, rank, found.costs)
    path = crossings.path_of(width or crossings.LARGEST, tokens, n, found.costs)
    own = {s.trial["width"]: s.result["arms"] for s in steps if s.trial["tokens"] == tokens}
    places = [_place(found, own[each], each, tokens, n, rank) for each in sorted(own)]
    return _told(width, crossings.WIDTHS, guess=guessed(found, path, places, poor))


def _model_rank(
    found: Study, steps: Sequence[Record], width: int, tokens: int, n: int, poor: Collection[str]
) -> str:
    rank = crossings.rank_from(width, tokens, n, found.costs)
    path = crossings.path_of(width, tokens, n, found.costs)
    places = [
        _place(found, step.result["arms"], width, tokens, n, each)
        for step in steps
        if (step.trial["width"], step.trial["tokens"]) == (width, tokens)
        for each in sorted(step.trial["ranks"])
    ]
    return _told(rank, crossings.RANKS, guess=guessed(found, path, places, poor))


def _place(
    found: Study, arms: Sequence[dict[str, object]], width: int, tokens: int, n: int, rank: int
) -> Place:
    ours = crossings.step_seconds(width, tokens, n, found.costs)
    predicted = ours / crossings.lora_seconds(width, tokens, rank, found.costs)
    live = find(arms, kind="fourier", size=n, path=AUTO)
    return Place(predicted, ratios(live, find(arms, kind="lora", size=rank)).median)


def guessed(found: Study, path: str, places: Sequence[Place], poor: Collection[str]) -> bool:
    """Returns whether the model's answer hangs by less than it knows, or was measured otherwise.

    Args:
        found: The model.
        path: The path that it finds cheaper.
        places: In order, as far as was measured.
        poor: Kinds that the model does not explain.
    """
    if {path, "lora", "base"} & set(poor):
        return True
    tested = found.outside or found.inside
    error = max(tested[kind].median for kind in (path, "lora"))
    if places and abs(places[-1].predicted - 1) < error:
        return True
    return any((each.predicted > 1) is not (each.measured > 1) for each in places)


def _width(steps: Sequence[Record], tokens: int, n: int, rank: int) -> str:
    own = {s.trial["width"]: s.result["arms"] for s in steps if s.trial["tokens"] == tokens}
    widths = sorted(own)
    return _told(crossing(widths, lambda width: _no_slower(own[width], n, rank)), widths)


def _rank(steps: Sequence[Record], width: int, tokens: int, n: int) -> str:
    own = [s for s in steps if (s.trial["width"], s.trial["tokens"]) == (width, tokens)]
    if not own:
        return NONE
    arms, ranks = own[0].result["arms"], sorted(own[0].trial["ranks"])
    return _told(crossing(ranks, lambda rank: _no_slower(arms, n, rank)), ranks)


def _no_slower(arms: Sequence[dict[str, object]], n: int, rank: int) -> bool:
    ours = find(arms, kind="fourier", size=n, path=AUTO)
    return ratios(ours, find(arms, kind="lora", size=rank)).most <= 1


def _told(found: int | None, asked: Sequence[int], *, guess: bool = False) -> str:
    """Returns where it crosses; beyond what was asked, or below it, with a sign."""
    if found is None:
        text = f"{_BEYOND}{count(asked[-1])}"
    else:
        text = f"{_UP_TO if found == asked[0] > 1 else ''}{count(found)}"
    return text + (_MARK if guess else "")
