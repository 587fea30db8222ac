"""Validation: everything that is wrong with a file, at once (spec, clauses 3 to 9).

`fourier_format.load` stops where the format does; this goes on to the JSON Schema and re-draws the
sampling recipes, which are provenance that a reader need not check.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fourier_format import manifest, meaning, sampling, strict_json, structure
from fourier_format.adapter import Adapter, EntrySet, Sampling
from fourier_format.document import Document
from fourier_format.errors import InvalidAdapterError, Violation
from fourier_format.files import read_document
from fourier_format.sampling.budget import Budget, BudgetSpentError
from fourier_format.words import shortened

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

SCHEMA: Final = "schema/manifest-1.0.schema.json"
"""The schema's place in this package."""

MAX_REDRAWING_STEPS: Final = 2**32
"""What re-drawing all recipes of one file may cost: a minute."""


@dataclass(frozen=True, slots=True)
class Report:
    """What `validate` found in one file.

    Attributes:
        path: The file.
        violations: Every broken rule; `where` is a place in the file.
        notes: What could not be checked, in words.
        adapter: The content, where it could be read.
        digest: The SHA-256 that the file states, and has, where it could be read.
    """

    path: Path
    violations: tuple[Violation, ...]
    notes: tuple[str, ...] = ()
    adapter: Adapter | None = None
    digest: str | None = None

    @property
    def valid(self) -> bool:
        """Whether no rule is broken."""
        return not self.violations


def validate(path: str | os.PathLike[str]) -> Report:
    """Returns every violation of the format in the file at `path`, a .fft or a .fft.h5.

    A container that cannot be read, or whose digest is wrong, hides what is inside, and fields of
    the wrong type hide what they mean; all that is wrong at the first such level is reported.

    Raises:
        FileAccessError: The file cannot be read.
        DependencyMissingError: It is HDF5 and h5py is not installed.
    """
    file = Path(path)
    try:
        document = read_document(file)
        fields = strict_json.loads(document.manifest, "manifest")
    except InvalidAdapterError as error:
        return Report(file, tuple(_inside(file, v) for v in error.violations))
    found = structure.violations(fields) or schema_violations(fields)
    found = found or meaning.violations(fields, document.tensors)
    if found:
        return Report(file, tuple(found))
    return _with_recipes(file, document)


def schema_violations(fields: Any) -> list[Violation]:
    """Returns what the JSON Schema alone says about a parsed manifest.

    `structure.violations` accepts exactly the same manifests and explains better; this is the
    published schema itself, so that the two cannot drift apart unseen.
    """
    errors = sorted(_validator().iter_errors(fields), key=lambda error: error.json_path)
    return [
        Violation(
            "E-FIELD-VALUE",
            error.json_path.removeprefix("$").removeprefix(".") or "manifest",
            f"the JSON Schema refuses it: {shortened(error.message, 160)}",
        )
        for error in errors
    ]


@functools.cache
def _validator() -> Validator:
    import jsonschema  # here, because it takes longer to load than most files to validate

    text = resources.files("fourier_format").joinpath(SCHEMA).read_text("utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))


def _with_recipes(file: Path, document: Document) -> Report:
    adapter = manifest.from_document(document, str(file))
    budget = Budget(MAX_REDRAWING_STEPS)
    found: list[Violation] = []
    notes: list[str] = []
    left_out: list[str] = []
    for entry_set in adapter.entry_sets:
        recipe = entry_set.sampling
        if recipe is None or recipe.method == "explicit":
            continue
        if not sampling.is_known(recipe):
            notes.append(_unknown(entry_set.id, recipe))
            continue
        try:
            found += _recipe_violations(entry_set, recipe, adapter.seed, budget)
        except BudgetSpentError:
            left_out.append(entry_set.id)
    if left_out:
        notes.append(_too_long(left_out))
    return Report(file, tuple(found), tuple(notes), adapter, document.digest())


def _recipe_violations(
    entry_set: EntrySet, recipe: Sampling, seed: int | None, budget: Budget
) -> Iterator[Violation]:
    with np.errstate(all="ignore"):  # parameters as large as 1e300 overflow on the way to "no"
        found = sampling.mismatch(entry_set.shape, entry_set.entries, recipe, seed, budget)
    if found is not None:
        yield replace(found, where=f"entries/{entry_set.id}")


def _unknown(id_: str, recipe: Sampling) -> str:
    generator = f" by {recipe.generator}" if recipe.generator else ""
    return (
        f"entries/{id_}: the recipe {recipe.method}{generator} is not known here and was not "
        "re-drawn"
    )


def _too_long(ids: list[str]) -> str:
    more = f" and {len(ids) - 1:,} more" if len(ids) > 1 else ""
    return f"entries/{ids[0]}{more}: drawing all recipes takes too long; not re-drawn"


def _inside(file: Path, violation: Violation) -> Violation:
    """Returns the violation with its place in the file, without the file's name before it."""
    where = violation.where.removeprefix(str(file)).removeprefix(", ")
    return replace(violation, where=where)
