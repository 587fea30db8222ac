"""Progress bars, where someone sees them."""

from __future__ import annotations

import sys
from collections.abc import Callable

from fourier_converters.request import Request


def progress(request: Request, what: str, total: int) -> Callable[[str], None]:
    """Returns a function that moves a progress bar, where someone sees it.

    Args:
        request: What is done.
        what: Before the bar.
        total: How often the function will be called, with a name each time.
    """
    if request.quiet or request.json or not sys.stderr.isatty():
        return lambda _: None
    from tqdm import tqdm

    bar = tqdm(total=total, desc=what, unit="weight", leave=False, delay=0.5)

    def step(name: str) -> None:
        bar.set_postfix_str(name[-40:], refresh=False)
        bar.update()
        if bar.n >= total:
            bar.close()

    return step
