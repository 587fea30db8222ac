"""Module paths: when a name in one framework and a path in another mean the same module."""

from __future__ import annotations

from collections.abc import Iterable


def same_module(target: str, paths: Iterable[str]) -> set[str]:
    """Returns those of `paths` that can mean the module `target`, best agreement only.

    Wrappers put a prefix before a path ("model.encoder.q") and a checkpoint of a part of a model
    lacks one. So an equal path is best; then paths that end in the target; then the longest one
    that the target ends in.
    """
    unique = set(paths)
    if target in unique:
        return {target}
    longer = {path for path in unique if path.endswith(f".{target}")}
    if longer:
        return longer
    shorter = {path for path in unique if path and target.endswith(f".{path}")}
    return {max(shorter, key=len)} if shorter else set()
