"""torchrun with two processes, as a test starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run(script: str, folder: Path) -> None:
    """Run a script of this folder with two processes; an error shows what they said."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(Path(__file__).with_name(script)), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        raise AssertionError(done.stdout[-2000:] + done.stderr[-6000:])
