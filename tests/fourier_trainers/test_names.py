from __future__ import annotations

import itertools

import pytest

from fourier_trainers.names import Naming


@pytest.mark.parametrize("separator", [".", "/"])
def test_of_several_suffixes_the_longest_wins_in_whatever_order_they_are_given(
    separator: str,
) -> None:
    naming = Naming(separator, "listing")
    of = {"q": 7, separator.join("bq"): 3, separator.join("abq"): 5, "other": 1}

    for order in itertools.permutations(of):
        pattern = {key: of[key] for key in order}
        names = [separator.join(parts) for parts in ("xq", "xbq", "abq", "ab", "xqq")]
        assert [naming.by_pattern(pattern, name, 9) for name in names] == [7, 3, 5, 9, 7]
