"""Download of QM9 from either of its sources; a download is complete and verified, or absent."""

import http
import http.client
import importlib.util
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.core.errors import InputError
from pipeline.core.files import atomic_directory, sha256
from pipeline.core.progress import Progress, progress
from pipeline.data.figshare import ARCHIVE, UNCHARACTERIZED
from pipeline.data.qm9pack import WHEEL

QM9PACK_REQUIREMENT: Final = "qm9pack==1.0.3"
QM9PACK_SHA256: Final = "1d88c2988007c6778e717ee3224cf511bd60e10732ebe3b7ed500ea5af05c9f0"


@dataclass(frozen=True)
class RemoteFile:
    """A file on a web server, with its expected content."""

    name: str
    url: str
    size: int
    """Bytes."""
    sha256: str


FIGSHARE_FILES: Final = (
    # figshare publishes the MD5 sums ad1ebd51ee7f5b3a6e32e974e5d54012 and a361887bacb427b8a0ce7903d92a53b4; the SHA-256
    # sums are those of files with these MD5 sums in public data manifests.
    RemoteFile(
        name=ARCHIVE,
        url="https://figshare.com/ndownloader/files/3195389",
        size=86_144_227,
        sha256="3a63848ac80691bdb8d41834b575afad345b9300d7a2db0c38adb7f6eaa8360c",
    ),
    RemoteFile(
        name=UNCHARACTERIZED,
        url="https://figshare.com/ndownloader/files/3195404",
        size=486_752,
        sha256="3aa5115d540b356de94791d4a74c3bf1ed91c469ecf52a4f5d7cc0506fe02e24",
    ),
)

_TIMEOUT_SECONDS: Final = 30.0
_ATTEMPTS: Final = 6
_BLOCK_BYTES: Final = 1 << 18


def download_qm9pack(directory: str | os.PathLike[str], *, log: Path | None = None) -> None:
    """Download the wheel of qm9pack 1.0.3 into ``directory`` with pip, by version and SHA-256.

    pip uses the index, mirror, proxy and certificates that the user has configured. Nothing is installed.

    Args:
      directory: created or replaced when the wheel is complete and verified.
      log: file for the output of pip if it fails.

    Raises:
      InputError: pip is missing or failed, or the wheel is not the expected one.
    """
    if importlib.util.find_spec("pip") is None:
        raise InputError(f"{sys.executable} has no pip to download {QM9PACK_REQUIREMENT} with; try -m ensurepip")
    with atomic_directory(directory) as temporary:
        requirements = temporary / "requirements.txt"
        requirements.write_text(f"{QM9PACK_REQUIREMENT} --hash=sha256:{QM9PACK_SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--no-deps"]
        command += ["--require-hashes", "--only-binary", ":all:", "--dest", str(temporary)]
        print(f"downloading {QM9PACK_REQUIREMENT} (104 MB) with pip", file=sys.stderr)
        result = subprocess.run(
            [*command, "--requirement", str(requirements)],
            # pip prints its progress bar to stdout; all other progress is on stderr.
            stdout=_stderr_fileno(),
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if result.returncode:
            if log:
                with log.open("a", encoding="utf-8") as file:
                    file.write(result.stderr)
            raise InputError(f"pip could not download {QM9PACK_REQUIREMENT}: {_reason(result.stderr)}")
        requirements.unlink()
        _verify(temporary / WHEEL, QM9PACK_SHA256)


def download_figshare(
    directory: str | os.PathLike[str], *, files: Sequence[RemoteFile] = FIGSHARE_FILES, log: Path | None = None
) -> None:
    """Download the official archive of QM9 and its list of uncharacterised molecules into ``directory``.

    Interrupted or stalled transfers resume, until six consecutive attempts receive nothing.

    Args:
      directory: created or replaced when all files are complete and verified.
      files: files to download.
      log: file for progress lines.

    Raises:
      InputError: the server is unreachable or refuses, or a file is not the expected one.
    """
    with (
        atomic_directory(directory) as temporary,
        progress(total=sum(f.size for f in files), description="figshare", unit="B", unit_scale=True, log=log) as bar,
    ):
        for file in files:
            _fetch(file, temporary / file.name, bar)
            _verify(temporary / file.name, file.sha256)


SOURCES: Final[dict[str, Callable[..., None]]] = {"qm9pack": download_qm9pack, "figshare": download_figshare}
"""Download function of each source, with the arguments directory and ``log``."""


class _RetryableError(Exception):
    """The connection failed, but another attempt may succeed."""


def _fetch(file: RemoteFile, path: Path, bar: Progress) -> None:
    """Download ``file`` to ``path``, resuming after interruptions."""
    failures = 0
    with path.open("wb") as target:
        while (start := target.tell()) < file.size:
            try:
                with _connect(file, start) as response:
                    if start and response.status != http.HTTPStatus.PARTIAL_CONTENT:
                        target.seek(0)
                        target.truncate()
                        bar.update(-start)
                    while block := _read(response):
                        target.write(block)
                        bar.update(len(block))
                reason = "the connection closed early"
            except _RetryableError as error:
                reason = str(error)
            failures = 0 if target.tell() > start else failures + 1
            if failures == _ATTEMPTS:
                raise InputError(f"{file.url}: {reason}, {failures} times; is the network reachable?")
            if target.tell() < file.size:
                bar.note(f"{file.name}: {reason}; resuming in {2**failures} s")
                time.sleep(2**failures)
        if target.tell() > file.size:
            raise InputError(f"{file.url}: sent more than the {file.size} bytes of {file.name}")


def _connect(file: RemoteFile, start: int) -> http.client.HTTPResponse:
    """Return the response with the bytes from ``start`` on, or with all if the server does not support ranges."""
    request = urllib.request.Request(file.url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        reason = f"the server answered {error.code} {error.reason}"
        if error.code == http.HTTPStatus.TOO_MANY_REQUESTS or error.code >= 500:
            raise _RetryableError(reason) from None
        raise InputError(f"{file.url}: {reason}") from None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise _RetryableError(str(getattr(error, "reason", None) or error or type(error).__name__)) from None
    return response


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK_BYTES)
    except (http.client.HTTPException, OSError) as error:
        raise _RetryableError(str(error) or type(error).__name__) from None


def _verify(path: Path, expected: str) -> None:
    if not path.is_file():
        raise InputError(f"{path.name}: missing from the download")
    if (found := sha256(path)) != expected:
        raise InputError(f"{path.name}: SHA-256 {found} should be {expected}; the download is discarded")


def _reason(output: str) -> str:
    """Return the line of pip's output that gives the cause."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    broken = re.findall(r"connection broken by '(.*)':", output)
    message = (errors or lines[-1:] or ["no output"])[0]
    # Without a connection pip ends with "no matching distribution", which hides the cause.
    return f"{broken[-1]} ({message})" if broken else message


def _stderr_fileno() -> int:
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError):
        return subprocess.DEVNULL
