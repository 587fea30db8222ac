"""Around the sections: what the page is, which aims were reached, and what was run when."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.evidence.blocks import Aim, Block, Table
from experiments.evidence.codes import changed, codes
from experiments.evidence.evidence import SIZES, Evidence
from experiments.evidence.findings import verdict
from experiments.evidence.formatting import listed, seconds
from experiments.records import Record

_TITLE = "# Evidence: FourierFT against LoRA, on real data, to ONNX Runtime"
_COMMITTED = """\
This page is built by `make evidence` from the results in
[experiments/results](../experiments/results), and from the plans in
[experiments/configs](../experiments/configs), which say what is still to run; a test fails if it is
not what they give."""
_OTHERS = """\
This page was built by `python -m experiments.evidence --results` from results that were given, not
from those of the repository, and from the plans in experiments/configs, which say what is still to
run."""
_RULES = """\
Every conclusion on it is a rule applied to numbers that stand beside it. Intervals are of 95 %, in
brackets."""
_COLUMNS = """\
Their time is wall time, and the machine was shared with other work; code is the digest of the code
that ran, one for each class of trials."""
_AGAIN = """\
To run an experiment: `python -m experiments NAME --size small`, one of the names above, in the
environment that `make test` makes. It goes on where it was killed, and prints first how long it
will take; what has results is run again only with `--again LABEL`. `--size medium` wants a GPU,
`--size paper` the paper's models as well: a folder with `--models`, or a hub."""


def top(*, committed: bool) -> list[Block]:
    """Returns what the page is made of: the committed results, or others that were given."""
    return [_TITLE, f"{_COMMITTED if committed else _OTHERS}\n{_RULES}"]


def aims(found: Sequence[tuple[str, str, Aim]]) -> list[Block]:
    """Returns all aims in a table; `found` are (section's title, size, aim)."""
    return ["## Aims", _aims(found)] if found else []


def runs(evidence: Sequence[Evidence]) -> list[Block]:
    """Returns what was run when, on what and with which code, and how to run it again."""
    ran = [found for found in evidence if found.files]
    found: list[Block] = ["## What was run"]
    if not ran:
        return [*found, "Nothing has been run.", _AGAIN]
    return [*found, _runs(ran), _COLUMNS, *_changed(ran), *_versions(ran), _AGAIN]


def not_run(name: str, sizes: Sequence[str]) -> list[str]:
    """Returns the sentence about the sizes at which an experiment has no results."""
    missing = [size for size in SIZES if size not in sizes]
    sizes_missing = f"size{'s' if len(missing) > 1 else ''} {listed(missing)}"
    return [f"Not run here: `{name}` at the {sizes_missing}."] if missing else []


def _aims(aims: Sequence[tuple[str, str, Aim]]) -> Table:
    return Table(
        ("what", "size", "aim", "found", ""),
        [
            [f"{title}: {aim.what}", size, aim.aim, aim.found, _marked(aim)]
            for title, size, aim in aims
        ],
    )


def _marked(aim: Aim) -> str:
    """Returns the verdict, in bold where the aim is missed."""
    return f"**{verdict(aim.reached)}**" if aim.reached is False else verdict(aim.reached)


def _runs(ran: Sequence[Evidence]) -> Table:
    rows = []
    for evidence in ran:
        for name, records in evidence.files.items():
            time = seconds(sum(record.seconds for record in records))
            rows.append(
                [
                    f"`{name}`",
                    evidence.size,
                    str(len(records)),
                    time,
                    _days(records),
                    _device(records),
                    codes(records),
                ]
            )
        every = {record.key: record for found in evidence.files.values() for record in found}
        total = seconds(sum(record.seconds for record in every.values()))
        rows.append(["all, each trial once", evidence.size, str(len(every)), total, "", "", ""])
    header = ("experiment", "size", "trials", "their time", "days", "device", "code")
    return Table(header, rows)


def _changed(ran: Sequence[Evidence]) -> list[str]:
    """Returns a sentence about experiments whose trials ran with different code."""
    found = [
        f"`{name}` ({evidence.size})"
        for evidence in ran
        for name, records in evidence.files.items()
        if any(changed(each) for each in _by_class(records))
    ]
    return [f"The training code changed between trials of {listed(found)}."] if found else []


def _by_class(records: Sequence[Record]) -> list[list[Record]]:
    """Returns the records of each class of trials: each has a digest of its own."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.trial["trial"], []).append(record)
    return list(found.values())


def _versions(ran: Sequence[Evidence]) -> list[str]:
    """Returns a sentence about what computed: every version that a trial ran with."""
    versions: dict[str, set[str]] = {}
    for record in (r for evidence in ran for records in evidence.files.values() for r in records):
        versions.setdefault("Python", set()).add(record.environment["python"])
        for name, version in record.environment["versions"].items():
            versions.setdefault(name, set()).add(version)
    each = [f"{name} {listed(sorted(found))}" for name, found in versions.items()]
    return [f"Versions: {', '.join(each)}."]


def _days(records: Sequence[Record]) -> str:
    known = [record.environment["day"] for record in records if "day" in record.environment]
    days = sorted(set(known))
    unknown = len(records) - len(known)
    parts = [days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"] if days else []
    return listed([*parts, *([f"{unknown} of unknown day"] if unknown else [])])


def _device(records: Sequence[Record]) -> str:
    found = {
        f"{e['device']}, {e['threads']} of {e['cores']} cores"
        for e in (record.environment for record in records)
    }
    return listed(sorted(found))
