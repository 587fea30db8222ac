"""Text is never markup."""

from __future__ import annotations

import pytest

from fourier_converters.html.markup import Markup, figure, join, name, percent, tag, text


def test_what_is_not_markup_is_escaped_in_elements_and_attributes() -> None:
    made = tag("p", "<b>&", tag("i", '"'), title='"><script>', class_="a", tabindex=None)

    assert made == ('<p title="&quot;&gt;&lt;script&gt;" class="a">&lt;b&gt;&amp;<i>&quot;</i></p>')
    assert join("<", Markup("<br/>")) == "&lt;<br/>"


def test_control_and_direction_characters_are_shown() -> None:
    assert text("a\x00b\u202ec\u2028") == r"a\x00b\u202ec\u2028"
    assert name("a.b<") == '<bdi class="name">a.<wbr/>b&lt;</bdi>'


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.01234, "0.0123"),
        (1.0, "1"),
        (12345.6, "12,300"),
        (-0.5, "-0.5"),
        (1.234e-5, "1.2e-5"),
        (2.5e9, "2.5e9"),
        (999_600.0, "1,000,000"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_are_short(value: float | None, said: str) -> None:
    assert figure(value) == said


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, "-"),
        (0.0, "0 %"),
        (0.5, "50 %"),
        (0.0034, "0.34 %"),
        (1.0, "100 %"),
        (1.2e-7, "1.2e-5 %"),
    ],
)
def test_shares_are_percentages(share: float | None, said: str) -> None:
    assert percent(share) == said
