"""Function against function: libraries loaded, models and adapter in memory. One JSON object.

    python minilm_functions.py FOLDER --runs 5

Ours reads the base from the page cache, as the peer reads its tensors; both write their result.
"""
# ruff: noqa: TID251 -- the peer

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
from pathlib import Path

import torch
from measure import Call, interleaved, timed
from minilm_peer import export, load, merged, with_adapter

import fourier_format
from fourier_converters.onnx import to_onnx


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    adapter = fourier_format.load(folder / "adapter.fft")
    adapted = with_adapter(load(folder / "model"), folder / "peft")

    def ours(base: str) -> Call:
        source = folder / base / "base.onnx"
        output = folder / f"function_{base}" / "merged.onnx"
        output.parent.mkdir(exist_ok=True)
        return timed(lambda: to_onnx(adapter, source, output, overwrite=True))

    def peer(exporter: str) -> Call:
        model = copy.deepcopy(adapted)  # merging changes it; not timed
        output = folder / "function_peer.onnx"
        return timed(lambda: export(merged(model), output, exporter))

    jobs = {
        "ours_dynamo": lambda: ours("dynamo"),
        "peer_dynamo": lambda: peer("dynamo"),
        "ours_torchscript": lambda: ours("torchscript"),
        "peer_torchscript": lambda: peer("torchscript"),
    }
    with contextlib.redirect_stdout(io.StringIO()):  # the exporter talks
        calls = interleaved(jobs, arguments.runs)
    print(json.dumps({"calls": calls, "torch_threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
