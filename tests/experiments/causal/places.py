"""Where a trial of a test runs."""

from pathlib import Path

from experiments.trial import Context


def context_in(folder: Path, shared: Path) -> Context:
    """Return a context that counts no steps."""
    return Context(folder, shared, folder, "cpu", lambda: None)
