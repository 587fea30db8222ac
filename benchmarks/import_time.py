"""How long a command takes to say anything: imports and --help against an empty Python.

python benchmarks/import_time.py [--runs 11]
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from measure import Json, Run, child, finish, interleaved, of_runs, rounded, spread

PEERS: Final = ("numpy", "torch", "peft")
PACKAGES: Final = ("numpy", "scipy", "onnx", "torch", "peft")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--no-peers", action="store_true", help="leave out torch and PEFT")
    arguments = parser.parse_args()
    jobs = {
        "empty": _python("pass"),
        "import_fourier_format": _python("import fourier_format"),
        "fourier_format_help": _command("fourier-format", "fourier_format.cli"),
        "fourier_convert_help": _command("fourier-convert", "fourier_converters.cli"),
    }
    for peer in PEERS[:1] if arguments.no_peers else PEERS:
        if importlib.util.find_spec(peer):
            jobs[f"import_{peer}"] = _python(f"import {peer}")
    done = interleaved(jobs, arguments.runs)
    results: Json = {name: of_runs(runs) for name, runs in done.items()}
    for name, runs in done.items():
        above = [
            run.seconds - empty.seconds for run, empty in zip(runs, done["empty"], strict=True)
        ]
        results[name]["seconds_above_empty"] = spread(above)
    results["slowest_command"] = rounded(
        max(results[name]["seconds"]["median"] for name in jobs if name.endswith("_help"))
    )
    finish("import_time", results, [name for name in PACKAGES if importlib.util.find_spec(name)])


def _python(code: str) -> Callable[[], Run]:
    return functools.partial(child, [sys.executable, "-c", code])


def _command(name: str, module: str) -> Callable[[], Run]:
    """The installed command where there is one; else its module, which is what it runs."""
    installed = Path(sys.executable).with_name(name)
    start = [installed] if installed.exists() else [sys.executable, "-m", module]
    return functools.partial(child, [*start, "--help"])


if __name__ == "__main__":
    main()
