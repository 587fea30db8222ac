"""`python -m fourier_format` is the command `fourier-format`."""

from fourier_format.cli import main

raise SystemExit(main())
