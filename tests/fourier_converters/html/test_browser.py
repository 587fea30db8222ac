"""Pages in a real browser: they render, say nothing on the console, and fit a phone and a desk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fourier_converters.html import to_html
from fourier_format import Adapter, delta_weight
from fourier_format.adapter import Array
from tests.fourier_converters.checkpoints import DIGITS
from tests.fourier_converters.command import converted
from tests.fourier_converters.html.browser import PROGRAM, Browser, running
from tests.fourier_converters.html.settings import hostile, layered, made

pytestmark = pytest.mark.skipif(
    not PROGRAM.exists(),
    reason=f"no browser at {PROGRAM}: python tools/fetch_browser.py puts it there",
)
WIDTHS = (360, 1280)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running() as browser:
        yield browser


def opened(browser: Browser, adapter: Adapter, folder: Path, width: int = 1280) -> None:
    """Open an adapter's page, which must be silent and ask for nothing but itself."""
    path = folder / "page.html"
    to_html(adapter, path, overwrite=True)
    assert_silent(browser, path, width)


def assert_silent(browser: Browser, path: Path, width: int, *, dark: bool = False) -> None:
    seen = browser.open(path, width, dark=dark)
    assert seen.messages == []
    assert [url for url in seen.requests if not url.startswith("data:")] == [path.as_uri()]


def colours(picture: Array) -> int:
    """Returns how many colours a picture has."""
    return len(np.unique(picture @ np.array([2**16, 2**8, 1])))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("digits") / "report.html"
    base = DIGITS / "base.onnx"
    converted(DIGITS / "adapter.fft", "--to", "html", "--base", base, "-o", path)
    return path


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_trained_adapters_page_renders(
    width: int, dark: bool, browser: Browser, digits: Path
) -> None:
    assert_silent(browser, digits, width, dark=dark)

    assert browser.evaluate("document.documentElement.scrollWidth") == width
    text = browser.evaluate("document.body.innerText")
    for shown in ("What stands out", "blocks.1.attention.key", "2.36", "27.1 kB"):
        assert shown in text
    picture = browser.screenshot()
    assert picture.shape[1] == width
    paper = np.bincount(picture.reshape(-1, 3).sum(axis=1, dtype=np.int64)).argmax()
    assert paper < 150 if dark else paper > 700
    assert colours(picture) > 500


@pytest.mark.parametrize("element", ["h1", "figure.wide svg", "td", ".findings li", "figure svg"])
def test_what_is_on_the_page_is_drawn(element: str, browser: Browser, digits: Path) -> None:
    browser.open(digits, 1280)
    box = browser.evaluate(
        f"(({{x, y, width, height}}) => [x, y + scrollY, width, height])"
        f"(document.querySelector('{element}').getBoundingClientRect())"
    )
    x, y, width, height = (round(number) for number in box)

    part = browser.screenshot()[y : y + height, x : x + width]

    assert colours(part) > 10  # edges of letters and pixels of pictures
    assert part.std() > 10


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "adapter", [hostile(), layered(40), made(["w"], (1, 1), 1)], ids=["hostile", "many", "one"]
)
def test_pages_of_every_size_fit(
    adapter: Adapter, width: int, browser: Browser, tmp_path: Path
) -> None:
    opened(browser, adapter, tmp_path, width)
    assert browser.evaluate("document.documentElement.scrollWidth") == width

    browser.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")

    assert browser.evaluate("document.documentElement.scrollWidth") == width
    outside = (
        "[...document.querySelectorAll('body *')].filter(one => !one.closest('.box > *, pre') && "
        "one.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert browser.evaluate(outside) == 0


def test_nothing_of_a_hostile_adapter_runs(browser: Browser, tmp_path: Path) -> None:
    opened(browser, hostile(), tmp_path)

    assert browser.evaluate("document.scripts.length") == 0
    assert browser.evaluate("document.querySelectorAll('img, iframe, object').length") == 0


def test_the_policy_refuses_what_an_attacker_would_put_in(
    browser: Browser, digits: Path, tmp_path: Path
) -> None:
    added = '<script>document.title = "ran"</script><img src="http://127.0.0.1:9/x.png"></body>'
    path = tmp_path / "edited.html"
    path.write_text(digits.read_text("utf-8").replace("</body>", added), "utf-8")

    seen = browser.open(path, 1280)

    assert browser.evaluate("document.title") != "ran"
    assert len([said for said in seen.messages if "Content Security Policy" in said]) == 2


def test_each_target_opens_without_a_script(browser: Browser, tmp_path: Path) -> None:
    adapter = layered(3)
    opened(browser, adapter, tmp_path)
    closed = browser.evaluate("document.querySelectorAll('#layers details:not([open])').length")

    browser.evaluate("document.querySelector('#layers details:not([open]) summary').click()")

    after = browser.evaluate("document.querySelectorAll('#layers details:not([open])').length")
    assert (closed, after) == (5, 4)
    norm = np.linalg.norm(delta_weight(adapter, adapter.targets[0], np.float64))
    assert f"|ΔW| {norm:.3g}" in browser.evaluate("document.querySelector('#layers').innerText")


def test_text_has_contrast(browser: Browser, digits: Path) -> None:
    ratios = """
    (() => {
      const channels = text => text.match(/[\\d.]+/g).map(Number);
      const over = ([r, g, b, a = 1], under) => [r, g, b].map((c, i) => a * c + (1 - a) * under[i]);
      const behind = element => {
        const chain = [];
        for (let e = element; e; e = e.parentElement)
          chain.unshift(channels(getComputedStyle(e).backgroundColor));
        return chain.reduce((under, layer) => over(layer, under), [255, 255, 255]);
      };
      const light = rgb => rgb.map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
      const ratio = element => {
        const paper = behind(element), ink = over(channels(getComputedStyle(element).color), paper);
        const [a, b] = [light(paper), light(ink)].sort((x, y) => x - y);
        return (b + 0.05) / (a + 0.05);
      };
      return [...document.querySelectorAll('h1,h2,p,td,th,dt,dd,li,strong,summary,figcaption,a')]
        .map(ratio);
    })()
    """
    for dark in (False, True):
        browser.open(digits, 1280, dark=dark)
        found = browser.evaluate(ratios)
        assert len(found) > 100
        assert min(found) >= 4.5  # WCAG 2.2, 1.4.3, level AA
