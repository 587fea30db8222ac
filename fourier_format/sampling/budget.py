"""How much work drawing may cost: a few bytes of a file can ask for a thousand years of it.

Only what costs more than the entries themselves is counted: weights that mt19937-io64 passes, and
candidates that a band refuses.
"""

from __future__ import annotations

import math


class BudgetSpentError(Exception):
    """Drawing on would cost more than the budget has left."""


class Budget:
    """Steps that may still be taken, each of 14 ns or so; shared by the draws that it is given to.

    Attributes:
        left: How many are left.
    """

    def __init__(self, steps: float = math.inf) -> None:
        """Takes how many steps there are."""
        self.left = steps

    def spend(self, steps: int) -> None:
        """Take steps off.

        Raises:
            BudgetSpentError: Fewer are left; all of them still are.
        """
        if steps > self.left:
            raise BudgetSpentError
        self.left -= steps
