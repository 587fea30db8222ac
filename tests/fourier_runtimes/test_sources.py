from __future__ import annotations

import sys
import threading
import traceback
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePath, PureWindowsPath

import fsspec
import numpy as np
import pytest

import fourier_format
from fourier_format import Adapter
from fourier_format.errors import (
    DependencyMissingError,
    FileAccessError,
    FourierFormatError,
    InvalidAdapterError,
    UnknownAdapterError,
)
from fourier_runtimes import AdapterSession, sources
from fourier_runtimes.sources import Source, near, redacted, stem
from tests.fourier_runtimes.handmade import adapter_for, batch, handmade
from tests.fourier_runtimes.test_session import off
from tests.tolerances import SERVED_F32

BASE = handmade(0)
A = adapter_for(BASE, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "team").mkdir()
    for name in ("legal", "team/support"):
        fourier_format.save(A, tmp_path / f"{name}.fft")
    fourier_format.save(A, tmp_path.parent / f"{tmp_path.name}-outside.fft")
    return tmp_path


@pytest.fixture
def memory() -> Iterator[str]:
    system = fsspec.filesystem("memory")
    with system.open("/adapters/legal.fft", "wb") as file:
        file.write(fourier_format.to_bytes(A))
    with system.open("/adapters/broken.fft", "wb") as file:
        file.write(fourier_format.to_bytes(A)[:-1])
    yield "memory://adapters"
    system.rm("/adapters", recursive=True)


class Quiet(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if "failing" in self.path:
            self.send_error(500)
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "web").mkdir()
    for name in ("legal de", "50% & more?", "a:b", "ok"):
        fourier_format.save(A, tmp_path / "web" / f"{name}.fft")
    handler = partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/web"
        server.shutdown()
        thread.join()


def test_a_directory_has_the_files_that_lie_in_it(folder: Path) -> None:
    source = Source(folder)

    found = source.fetch("legal")

    assert found is not None
    adapter, place = found
    assert place == f"{folder}/legal.fft"
    (got,), (wanted,) = adapter.entry_sets, A.entry_sets
    assert np.array_equal(got.coefficients, wanted.coefficients)
    assert source.fetch("team/support") is not None
    assert source.fetch("nobody") is None
    assert source.names() == ["legal"]


@pytest.mark.parametrize("name", ["", "../{0}-outside", "/etc/passwd", "a\x00b", "team/../../{0}"])
def test_no_name_leads_out_of_a_source(folder: Path, name: str) -> None:
    assert Source(folder).fetch(name.format(folder.name)) is None


def test_a_url_is_opened_by_fsspec(memory: str) -> None:
    source = Source(memory)

    found = source.fetch("legal")

    assert found is not None
    assert found[1] == "memory://adapters/legal.fft"
    assert source.fetch("nobody") is None
    assert source.names() == ["broken", "legal"]
    with pytest.raises(InvalidAdapterError, match=r"memory://adapters/broken\.fft"):
        source.fetch("broken")


@pytest.mark.parametrize("chain", ["", "simplecache::"])
def test_a_web_server_quotes_names_and_nobody_else_does(chain: str, web: str) -> None:
    with AdapterSession(BASE.model(), source=chain + web) as session:
        session.load_all()
        name = session.load(f"{chain}{web}/legal%20de.fft?signature=secret#there")

        assert session.names == ["50% & more?", "a:b", "ok", "legal de"]
        assert name == "legal de"
        with pytest.raises(UnknownAdapterError, match="did you mean 'legal de'"):
            session.run({"x": batch(1)}, "legal-de")


@pytest.mark.parametrize("where", ["{0}", "file://{0}"])
def test_what_a_source_lists_can_be_fetched(where: str, tmp_path: Path) -> None:
    for name in ("a:b", "legal de", "50%", "line\nbreak", ""):
        fourier_format.save(A, tmp_path / f"{name}.fft")
    source = Source(where.format(tmp_path))

    assert source.names() == ["50%", "a:b", "legal de"]
    for name in source.names():
        found = source.fetch(name)
        assert found is not None
        assert_a(found[0])
        assert_a(sources.loaded(found[1]))


@pytest.mark.parametrize("name", ["x::file:///etc/passwd", "file:///etc/passwd", "a\\b"])
def test_no_name_makes_another_url_of_a_source(name: str, memory: str) -> None:
    system = fsspec.filesystem("memory")
    system.pipe_file(f"/adapters/{name}.fft", fourier_format.to_bytes(A))

    assert Source(memory).fetch(name) is None


def test_a_session_serves_from_a_url(memory: str) -> None:
    session = AdapterSession(BASE.model(), source=memory)
    x = batch(2)

    (y,) = session.run({"x": x}, [None, "legal"])
    session.load(f"{memory}/legal.fft", "again")

    assert off(y, BASE.answer(x, {}, {A: 1})) < SERVED_F32
    assert session.names == ["legal", "again"]
    with pytest.raises(FileAccessError):
        session.load(f"{memory}/nobody.fft")


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("zip://adapters::file://{0}/all.zip", "zip://adapters/legal.fft::file://{0}/all.zip"),
        ("zip://adapters/::file://{0}/all.zip", "zip://adapters/legal.fft::file://{0}/all.zip"),
        ("zip://::file://{0}/all.zip", "zip://legal.fft::file://{0}/all.zip"),
        ("simplecache::file://{0}", "simplecache::file://{0}/legal.fft"),
        ("file://{0}/", "file://{0}/legal.fft"),
        ("memory://", "memory://legal.fft"),
    ],
)
def test_a_chain_of_urls_is_opened_by_fsspec(url: str, file: str, folder: Path) -> None:
    with zipfile.ZipFile(folder / "all.zip", "w") as packed:
        packed.write(folder / "legal.fft", "adapters/legal.fft")
        packed.write(folder / "legal.fft", "legal.fft")
    fsspec.filesystem("memory").pipe_file("/legal.fft", (folder / "legal.fft").read_bytes())
    source = Source(url.format(folder))

    found = source.fetch("legal")

    assert found is not None
    assert found[1] == file.format(folder)
    assert source.names() == ["legal"]
    assert source.fetch("nobody") is None
    assert_a(found[0])
    assert_a(sources.loaded(found[1]))
    fsspec.filesystem("memory").rm("/legal.fft")


def assert_a(adapter: Adapter) -> None:
    (got,), (wanted,) = adapter.entry_sets, A.entry_sets
    assert np.array_equal(got.coefficients, wanted.coefficients)


def test_a_source_that_cannot_be_listed_says_so_where_all_is_asked_for(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> list[str]:
        message = "listing is forbidden"
        raise PermissionError(message)

    monkeypatch.setattr(fsspec.filesystem("memory"), "ls", failing)
    with AdapterSession(BASE.model(), source=memory) as session:
        with pytest.raises(FileAccessError, match="listing is forbidden"):
            session.load_all()
        with pytest.raises(UnknownAdapterError, match="nobody"):
            session.run({"x": batch(1)}, "nobody")
        session.run({"x": batch(1)}, "legal")


def test_a_source_that_cannot_be_reached_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source("memory://adapters")

    def failing(*_: object) -> bytes:
        message = "the network is down"
        raise TimeoutError(message)

    monkeypatch.setattr(fsspec.filesystem("memory"), "cat_file", failing)

    with pytest.raises(FileAccessError, match="the network is down") as caught:
        source.fetch("legal")

    assert isinstance(caught.value.__cause__, TimeoutError)


def test_a_source_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError):
        Source(tmp_path / "absent")
    with pytest.raises(FourierFormatError, match="nonsense"):
        Source("nonsense://x")


def test_without_fsspec_a_url_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)

    with pytest.raises(DependencyMissingError, match="remote"):
        sources.loaded("memory://adapters/legal.fft")


def test_files_are_called_without_their_suffixes() -> None:
    names = [stem(p) for p in ("a/legal.fft", "legal.v2.fft", "x.fft.h5", "y.h5", Path("z"))]

    assert names == ["legal", "legal.v2", "x", "y", "z"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("https://h/legal.fft?X-Amz-Signature=a/b.fft", "legal"),
        ("https://h/legal%20de.fft.h5#part", "legal de"),
        ("s3://bucket/50%25.fft?versionId=1", "50%25"),
        ("simplecache::https://h/legal.fft?x", "legal"),
        ("zip://adapters/legal.fft::https://h/all.zip?x", "legal"),
        ("what?.fft", "what?"),
        (PureWindowsPath("adapters\\legal.fft"), "legal"),
    ],
)
def test_a_name_is_the_files_alone(path: str | PurePath, name: str) -> None:
    assert stem(path) == name


def test_near_names_are_spelt_alike() -> None:
    assert near("leagl-de", ["legal-de", "support", "legal-en"])[0] == "legal-de"
    assert near("zzz", ["legal-de"]) == []


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("https://me:secret@h/legal.fft?token=secret#secret", "https://...@h/legal.fft"),
        ("https://me:sec/ret@h/legal.fft", "https://...@h/legal.fft"),
        ("https://me:sec?ret@h/legal.fft", "https://...@h/legal.fft"),
        ("https://me:sec#r@et@h/legal.fft", "https://...@h/legal.fft"),
        ("https://me:sec::ret@h/legal.fft", "https://...@h/legal.fft"),
        ("zip://a@b.fft::https://me:secret@h/all.zip", "zip://a@b.fft::https://...@h/all.zip"),
        ("zip://legal.fft::/home/me/all.zip", "zip://legal.fft::/home/me/all.zip"),
        ("simplecache::filecache::HTTPS://h/a.fft?s", "simplecache::filecache::HTTPS://h/a.fft"),
        ("abfs://container@account/legal.fft?s=a@b", "abfs://container@account/legal.fft"),
        ("zip://legal.fft::https://h/all.zip?secret", "zip://legal.fft::https://h/all.zip"),
        ("simplecache::s3://bucket/a@b.fft", "simplecache::s3://bucket/a@b.fft"),
        ("odd?name#1.fft", "odd?name#1.fft"),
    ],
)
def test_messages_have_a_url_without_what_may_be_secret(url: str, wanted: str) -> None:
    assert redacted(url) == wanted


def test_a_file_is_asked_for_with_its_query(web: str) -> None:
    assert sources.loaded(f"{web}/legal%20de.fft?signature=secret").targets == A.targets


@pytest.mark.parametrize("chain", ["", "simplecache::"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_directory_keeps_its_query_behind_the_names(chain: str, slash: str, web: str) -> None:
    """The address of a container in the cloud ends in its signature."""
    source = Source(f"{chain}{web}{slash}?signature=secret")

    found = source.fetch("legal de")

    assert found is not None
    assert found[1] == f"{chain}{web}/legal%20de.fft?signature=secret"
    assert source.fetch("nobody") is None
    assert "legal de" in source.names()


@pytest.mark.parametrize("file", ["broken.fft", "nobody.fft", "down.fft", "failing one.fft"])
def test_no_error_tells_a_signature(file: str, web: str, tmp_path: Path) -> None:
    (tmp_path / "web" / "broken.fft").write_bytes(fourier_format.to_bytes(A)[:-1])
    place = web if file != "down.fft" else "http://127.0.0.1:1"
    url = f"{place}/{file}?signature=secret"

    with pytest.raises(FourierFormatError) as caught:
        sources.loaded(url)
    assert file in str(caught.value)
    told = "".join(traceback.format_exception(caught.value)).split("Error:", 1)[1]
    assert "secret" not in told


def test_a_short_query_does_not_take_letters_out_of_the_reason() -> None:
    with pytest.raises(FileAccessError, match=r"connect to host 127\.0\.0\.1:1"):
        sources.loaded("http://127.0.0.1:1/legal.fft?n")


def test_an_unknown_name_tells_no_password_of_its_source(web: str) -> None:
    url = web.replace("://", "://me:secret@")
    with (
        AdapterSession(BASE.model(), source=url) as session,
        pytest.raises(UnknownAdapterError) as caught,
    ):
        session.run({"x": batch(1)}, "nobody")
    assert "/web" in str(caught.value)
    assert "secret" not in str(caught.value)
