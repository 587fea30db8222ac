"""The process that exports with TensorFlow what another one saved: see `another_process`."""

import sys
from pathlib import Path

from fourier_trainers.keras.exporting.another_process import answer

if __name__ == "__main__":
    answer(Path(sys.argv[1]))
