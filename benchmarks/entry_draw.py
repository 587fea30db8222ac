"""Drawing PEFT's entries without torch: sampling.torch_randperm against torch.randperm.

    python benchmarks/entry_draw.py [--runs 5] [--large]

The draws must be equal to the last entry; `equal` says whether they are.
"""
# ruff: noqa: TID251 -- the peer

from __future__ import annotations

import argparse
import functools
import hashlib
import json
from typing import Any, Final

from measure import (
    Json,
    Run,
    child,
    finish,
    interleaved,
    peak_mib,
    progress,
    ratios,
    script,
    spread,
    timed,
)

SHAPES: Final = ("768x768", "4096x4096", "14336x4096")
LARGE: Final = "214748364x1"
"""The first size at which torch >= 2.6 shuffles in another way, all of it to the end."""
SEED: Final = 2024
PACKAGES: Final = ("numpy", "torch")
Array = Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="child processes of each")
    parser.add_argument("--n", type=int, default=10_000, help="entries to draw")
    parser.add_argument("--shape", action="append", help="OUTxIN; default: three of them")
    parser.add_argument("--large", action="store_true", help=f"{LARGE} too, once")
    parser.add_argument("--child", choices=("ours", "peer"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    shapes = arguments.shape or list(SHAPES)
    if arguments.child:
        print(json.dumps(_child(arguments.child, shapes[0], arguments.n)))
        return
    results: Json = {"n": arguments.n, "shapes": {}}
    for shape in shapes:
        results["shapes"][shape] = _shape(shape, arguments.n, arguments.runs, warmups=1)
    if arguments.large:
        results["shapes"][LARGE] = _shape(LARGE, arguments.n, runs=1, warmups=0)
    finish("entry_draw", results, PACKAGES)


def _shape(shape: str, count: int, runs: int, warmups: int) -> Json:
    def job(who: str) -> Run:
        return child(script("entry_draw.py", "--shape", shape, "--n", str(count), "--child", who))

    progress(shape)
    jobs = {who: functools.partial(job, who) for who in ("ours", "peer")}
    finished = interleaved(jobs, runs, warmups)
    done = {who: [run.json() for run in results] for who, results in finished.items()}
    report: Json = {
        who: {
            "seconds": spread(r["seconds"] for r in reports),
            "cpu_seconds": spread(r["cpu_seconds"] for r in reports),
            "peak_mib": spread(r["peak_mib"] for r in reports),
        }
        for who, reports in done.items()
    }
    for key, name in (("seconds", "times_faster"), ("peak_mib", "times_less_memory")):
        theirs, own = ([r[key] for r in done[who]] for who in ("peer", "ours"))
        report[name] = ratios(theirs, own)
    report["equal"] = len({r["sha256"] for reports in done.values() for r in reports}) == 1
    report["peer_threads"] = done["peer"][0]["threads"]
    return report


def _child(who: str, shape: str, count: int) -> Json:
    """Draw once, the library loaded but nothing warm: an adapter's entries are drawn once."""
    out, in_ = (int(part) for part in shape.split("x"))
    drawn: list[Array] = []
    if who == "ours":
        from fourier_format.sampling import torch_randperm

        generator = torch_randperm.generator_for(out * in_)
        forward = generator == torch_randperm.FORWARD
        draw = torch_randperm.forward if forward else torch_randperm.inside_out
        draw(16, 4, SEED)  # numpy.random is loaded
        call = timed(lambda: drawn.append(draw(out * in_, count, SEED)))
        threads = 1
    else:
        import torch

        def peer() -> None:
            generator = torch.Generator().manual_seed(SEED)
            drawn.append(torch.randperm(out * in_, generator=generator)[:count].numpy())

        call, threads = timed(peer), torch.get_num_threads()
    digest = hashlib.sha256(drawn[0].astype("<i8").tobytes()).hexdigest()
    return call._asdict() | {"peak_mib": peak_mib(), "sha256": digest, "threads": threads}


if __name__ == "__main__":
    main()
