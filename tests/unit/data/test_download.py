import hashlib
import http.server
import importlib.util
import resource
import socket
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.core.files import sha256
from pipeline.data import download
from pipeline.data.download import FIGSHARE_FILES, RemoteFile, download_figshare, download_qm9pack
from pipeline.data.qm9pack import WHEEL

CONTENT = bytes(range(256)) * 2000


class Server:
    """A web server that misbehaves as told: ``faults`` are what it does to the first requests, one each."""

    def __init__(self) -> None:
        self.url = ""
        self.content = CONTENT
        self.faults: list[int | str] = []
        self.ranges: list[str | None] = []
        self.honours_ranges = True

    def respond(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.ranges.append(handler.headers["Range"])
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            handler.send_error(fault)
            return
        start = 0
        if self.honours_ranges and (wanted := handler.headers["Range"]):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            handler.send_response(206)
        else:
            handler.send_response(200)
        body = self.content[start:]
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if fault == "break":
            handler.wfile.write(body[: len(body) // 2])
            handler.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "stall":
            handler.wfile.write(body[:1000])
            handler.wfile.flush()
            handler.rfile.read(1)  # until the client gives up
        else:
            handler.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.respond(self)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        told.url = f"http://127.0.0.1:{running.server_port}/archive"
        yield told
        running.shutdown()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the download would have waited, without waiting; and no proxy between it and our server."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return waited


@pytest.fixture
def earlier(tmp_path: Path) -> Iterator[Path]:
    """An earlier download, which a failing one must not touch."""
    directory = tmp_path / "raw" / "source"
    directory.mkdir(parents=True)
    (directory / "earlier").write_text("result")
    yield directory
    assert (directory / "earlier").read_text() == "result"
    assert [file.name for file in directory.parent.iterdir()] == ["source"], "something half done was left"


def remote(url: str, **changes: Any) -> RemoteFile:
    return RemoteFile(
        **{"name": "a.bin", "url": url, "size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest(), **changes}
    )


def test_files_arrive_complete_and_replace_what_was_there(server: Server, tmp_path: Path) -> None:
    directory = tmp_path / "raw" / "figshare"
    directory.mkdir(parents=True)
    (directory / "stale").touch()
    download_figshare(
        directory, files=[remote(server.url), remote(server.url, name="b.bin")], log=tmp_path / "download.log"
    )
    assert sorted(file.name for file in directory.iterdir()) == ["a.bin", "b.bin"]
    assert (directory / "a.bin").read_bytes() == CONTENT
    assert [file.name for file in directory.parent.iterdir()] == ["figshare"]
    assert "figshare" in (tmp_path / "download.log").read_text()


@pytest.mark.parametrize("honours_ranges", [True, False])
def test_a_broken_connection_is_taken_up_where_it_broke(
    server: Server, tmp_path: Path, waits: list[float], honours_ranges: bool
) -> None:
    server.faults, server.honours_ranges = ["break", "break"], honours_ranges
    download_figshare(tmp_path / "figshare", files=[remote(server.url)])
    assert (tmp_path / "figshare" / "a.bin").read_bytes() == CONTENT
    half, more = len(CONTENT) // 2, len(CONTENT) * 3 // 4
    second = more if honours_ranges else half
    assert server.ranges == [None, f"bytes={half}-", f"bytes={second}-"]
    assert len(waits) == 2


def test_attempts_that_bring_something_do_not_count(server: Server, tmp_path: Path) -> None:
    server.faults = ["break"] * 10
    download_figshare(tmp_path / "figshare", files=[remote(server.url)])
    assert (tmp_path / "figshare" / "a.bin").read_bytes() == CONTENT
    assert len(server.ranges) == 11


def test_a_server_in_trouble_is_asked_again_with_growing_patience(
    server: Server, tmp_path: Path, waits: list[float]
) -> None:
    server.faults = [503, 429, 500]
    download_figshare(tmp_path / "figshare", files=[remote(server.url)])
    assert (tmp_path / "figshare" / "a.bin").read_bytes() == CONTENT
    assert waits == sorted(set(waits))


def test_a_stalled_connection_times_out_and_is_taken_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT_SECONDS", 0.2)
    server.faults = ["stall"]
    download_figshare(tmp_path / "figshare", files=[remote(server.url)])
    assert (tmp_path / "figshare" / "a.bin").read_bytes() == CONTENT
    assert len(server.ranges) == 2


def test_trouble_that_does_not_end_is_an_error(server: Server, earlier: Path) -> None:
    server.faults = [503] * 100
    with pytest.raises(InputError, match=r"/archive: the server answered 503 .*, 6 times; is the network reachable"):
        download_figshare(earlier, files=[remote(server.url)])
    assert len(server.ranges) == 6


def test_a_missing_file_is_an_error_at_once(server: Server, earlier: Path) -> None:
    server.faults = [404]
    with pytest.raises(InputError, match="/archive: the server answered 404"):
        download_figshare(earlier, files=[remote(server.url)])
    assert len(server.ranges) == 1


def test_no_network_is_an_error(earlier: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/archive"
        with pytest.raises(InputError, match="refused, 6 times; is the network reachable"):
            download_figshare(earlier, files=[remote(url)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT[:-1] + b"?", r"a\.bin: SHA-256 .* should be .*; the download is discarded"),
        (CONTENT + b"?", r"/archive: sent more than the 512000 bytes of a\.bin"),
        (CONTENT[:-1], "the connection closed early, 6 times"),
        (b"", "the connection closed early, 6 times"),
    ],
)
def test_other_content_is_refused(server: Server, earlier: Path, content: bytes, message: str) -> None:
    server.content = content
    with pytest.raises(InputError, match=message):
        download_figshare(earlier, files=[remote(server.url)])


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes: what a full disk is like."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_an_error_of_the_disk_and_not_tried_again(server: Server, earlier: Path) -> None:
    with file_size_limit(300_000), pytest.raises(OSError, match="File too large"):
        download_figshare(earlier, files=[remote(server.url)])
    assert len(server.ranges) == 1


def test_the_official_files_are_pinned() -> None:
    assert [(file.name, file.size, file.sha256[:12]) for file in FIGSHARE_FILES] == [
        ("dsgdb9nsd.xyz.tar.bz2", 86144227, "3a63848ac806"),
        ("uncharacterized.txt", 486752, "3aa5115d540b"),
    ]
    assert all(len(file.sha256) == 64 and file.url.startswith("https://") for file in FIGSHARE_FILES)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip finds a made-up qm9pack 1.0.3 in, and nothing else anywhere; the pin is of that wheel."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("qm9pack/__init__.py", "raise SystemExit('imported')")
        metadata = "Metadata-Version: 2.1\nName: qm9pack\nVersion: 1.0.3\nRequires-Dist: no-such-package-anywhere\n"
        wheel.writestr("qm9pack-1.0.3.dist-info/METADATA", metadata)
        wheel.writestr(
            "qm9pack-1.0.3.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("qm9pack-1.0.3.dist-info/RECORD", "")
    for name, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_NO_CACHE_DIR": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(download, "QM9PACK_SHA256", sha256(folder / WHEEL))
    return folder


def test_pip_brings_the_wheel_and_nothing_else(index: Path, tmp_path: Path) -> None:
    download_qm9pack(tmp_path / "raw" / "qm9pack")
    assert [file.name for file in (tmp_path / "raw" / "qm9pack").iterdir()] == [WHEEL]
    assert (tmp_path / "raw" / "qm9pack" / WHEEL).read_bytes() == (index / WHEEL).read_bytes()
    assert [file.name for file in (tmp_path / "raw").iterdir()] == ["qm9pack"]


def test_pip_refuses_another_wheel(index: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(download, "QM9PACK_SHA256", "0" * 64)
    with pytest.raises(InputError, match=r"pip could not download qm9pack==1\.0\.3: .*DO NOT MATCH THE HASHES"):
        download_qm9pack(earlier, log=tmp_path / "log")
    assert "Expected sha256 " + "0" * 64 in (tmp_path / "log").read_text()


def test_a_package_that_is_nowhere_is_an_error(index: Path, earlier: Path) -> None:
    (index / WHEEL).unlink()
    with pytest.raises(InputError, match="Could not find a version that satisfies the requirement"):
        download_qm9pack(earlier)


def test_an_index_out_of_reach_is_said_to_be(index: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_RETRIES", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(earlier))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{unused.getsockname()[1]}/simple")
        with pytest.raises(InputError, match=r"Connection refused.* \(Could not find a version") as caught:
            download_qm9pack(earlier)
    assert "\n" not in str(caught.value)


def test_the_wheel_is_verified_again_after_pip(index: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tampered(command: list[str], **keywords: Any) -> subprocess.CompletedProcess[str]:
        Path(command[command.index("--dest") + 1], WHEEL).write_bytes(b"something else")
        return subprocess.CompletedProcess(command, 0, stderr="")

    monkeypatch.setattr("subprocess.run", tampered)
    with pytest.raises(InputError, match=r"qm9pack-1\.0\.3-py3-none-any\.whl: SHA-256 .* should be "):
        download_qm9pack(earlier)
    monkeypatch.setattr("subprocess.run", lambda command, **_: subprocess.CompletedProcess(command, 0))
    with pytest.raises(InputError, match="missing from the download"):
        download_qm9pack(earlier)


def test_a_python_without_pip_is_told_so(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="has no pip to download qm9pack==1.0.3 with; try -m ensurepip"):
        download_qm9pack(earlier)
