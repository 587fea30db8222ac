"""python -m fourier_converters is the command fourier-convert."""

import sys

from fourier_converters.cli import main

sys.exit(main())
