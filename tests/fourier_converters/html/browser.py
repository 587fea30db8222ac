"""A real browser without a screen: Chromium's headless shell, spoken to over its own pipe.

`make test` puts it into the environment that runs the tests (tools/fetch_browser.py). The protocol
is Chrome's DevTools protocol, JSON between zero bytes on two pipes, so that no package is needed.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from fourier_format.adapter import Array

FOLDER: Final = Path(sys.prefix) / "browser"
PROGRAM: Final = FOLDER / "chromium"
_SWITCHES: Final = (
    "--headless",
    "--no-sandbox",  # CI is root, which the sandbox refuses
    "--no-zygote",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


_PATIENCE: Final = 120
"""Seconds to wait for an answer on a machine that does much else."""

_LAUNCH: Final = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for place, end in enumerate(ends, 3):
    os.dup2(end, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Puts the two pipes where the browser looks for them, and becomes the browser."""


@dataclass(slots=True)
class Seen:
    """What a page did while it was open.

    Attributes:
        messages: Errors and everything else on the console.
        requests: The addresses that were asked for.
    """

    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


class Browser:
    """A running browser with one tab."""

    def __init__(self, read: IO[bytes], write: IO[bytes]) -> None:
        self._read = read
        self._write = write
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self._loaded = False
        self.seen = Seen()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Returns the result of a command, once what happened before it has been noted."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def open(self, path: Path, width: int, *, dark: bool = False) -> Seen:
        """Returns what the page at `path` did until it was loaded, `width` pixels wide."""
        self.seen = Seen()
        self._loaded = False
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self._loaded:
            self._note(self._receive())
        self.evaluate("document.title")  # so that what the page said last is noted
        return self.seen

    def evaluate(self, expression: str) -> Any:
        """Returns the value of an expression in JavaScript."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self) -> Array:
        """Returns the whole page as (height, width, 3) uint8."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    def close(self) -> None:
        """End the browser."""
        self._session = None
        self.call("Browser.close")

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], _PATIENCE)
            assert ready, f"the browser said nothing for {_PATIENCE} seconds"
            data = self._read.read(2**16)
            assert data, "the browser ended"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        received: dict[str, Any] = json.loads(message)
        return received

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.seen.requests.append(parameters["request"]["url"])
        elif method == "Log.entryAdded":
            self.seen.messages.append(parameters["entry"]["text"])
        elif method in {"Runtime.consoleAPICalled", "Runtime.exceptionThrown"}:
            self.seen.messages.append(json.dumps(parameters))


def _fonts(home: Path) -> Path:
    """Returns a configuration that finds the browser's own fonts, wherever it was put."""
    path = home / "fonts.conf"
    path.write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        f"<dir>{escape(str(FOLDER / 'fonts'))}</dir><cachedir>{escape(str(home))}</cachedir>"
        "</fontconfig>"
    )
    return path


@contextlib.contextmanager
def running() -> Iterator[Browser]:
    """Yields a browser that ends with the block."""
    (read, its_write), (its_read, write) = os.pipe(), os.pipe()
    with (
        tempfile.TemporaryDirectory() as home,
        os.fdopen(read, "rb", buffering=0) as answers,
        os.fdopen(write, "wb", buffering=0) as commands,
    ):
        process = subprocess.Popen(
            [
                *(sys.executable, "-IS", "-c", _LAUNCH, str(its_read), str(its_write)),
                *(str(PROGRAM), *_SWITCHES, f"--user-data-dir={home}/profile"),
            ],
            env=_environment(Path(home)),
            pass_fds=(its_read, its_write),
            stderr=subprocess.DEVNULL,
        )
        os.close(its_read)
        os.close(its_write)
        try:
            browser = Browser(answers, commands)
            yield browser
            browser.close()
            process.wait(20)
        finally:
            process.kill()
            process.wait()


def _environment(home: Path) -> dict[str, str]:
    """Returns an environment in which the browser takes its own libraries and fonts alone."""
    return {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PATH": os.defpath,
        "LD_LIBRARY_PATH": str(FOLDER / "lib"),
        "FONTCONFIG_FILE": str(_fonts(home)),
    }
