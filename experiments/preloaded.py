"""What the server has imported from which each trial's process is forked.

The code is read here, too, for the digests of all trials: they run these modules as they are now,
whatever becomes of the files in the meantime.
"""

from __future__ import annotations

from experiments import catalogue, code

code.of(catalogue.__file__)
