"""Which training code ran: the digests that the records hold, and how many hold none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from experiments.evidence.formatting import listed
from experiments.records import Record


def codes(records: Sequence[Record]) -> str:
    """Returns all digests, and how many have none: "31c7829f and 2 of unknown code"."""
    unknown = len(records) - sum("code" in record.environment for record in records)
    return listed([*_digests(records), *([f"{unknown} of unknown code"] if unknown else [])])


def changed(records: Sequence[Record]) -> bool:
    """Returns whether they ran with different code, or may have, as some hold no digest."""
    known = [record for record in records if "code" in record.environment]
    return len(_digests(records)) > 1 or 0 < len(known) < len(records)


def compared(named: Iterable[tuple[str, Sequence[Record]]]) -> list[str]:
    """Returns which code ran of each that is compared, where it was not the same for all.

    Args:
        named: What records are called, and some of them; a name may come several times.
    """
    found: dict[str, list[Record]] = {}
    for name, records in named:
        found.setdefault(name, []).extend(records)
    if not changed([record for records in found.values() for record in records]):
        return []
    each = "; ".join(f"{name}: {codes(records)}" for name, records in found.items())
    return [f"**What is compared ran with different training code** (digests). {each}."]


def _digests(records: Sequence[Record]) -> list[str]:
    environments = [record.environment for record in records]
    return sorted({each["code"] for each in environments if "code" in each})
