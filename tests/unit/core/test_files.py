import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.core.files import atomic_directory, atomic_path, json_digest, read_json, sha256, write_json, write_text


class BrokenError(Exception):
    """What goes wrong halfway."""


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    with atomic_path(path) as temporary:
        temporary.write_text("content")
        assert not path.exists()
    assert path.read_text() == "content"
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_a_file_that_fails_halfway_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("earlier")
    with pytest.raises(BrokenError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise BrokenError
    assert path.read_text() == "earlier"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_directory_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "directory"
    for names in (["a", "b"], ["c"]):
        with atomic_directory(path) as temporary:
            for name in names:
                (temporary / name).write_text(name)
            assert not (path / names[0]).exists()
        assert sorted(file.name for file in path.iterdir()) == names
        assert [file.name for file in path.parent.iterdir()] == ["directory"]


def test_a_directory_that_fails_halfway_leaves_the_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "directory"
    path.mkdir()
    (path / "earlier").touch()
    with pytest.raises(BrokenError), atomic_directory(path) as temporary:
        (temporary / "half").touch()
        raise BrokenError
    assert [file.name for file in tmp_path.rglob("*")] == ["directory", "earlier"]


@pytest.mark.parametrize("writes", [atomic_path, atomic_directory])
def test_a_full_disk_is_told_with_the_file(tmp_path: Path, writes: Any) -> None:
    with pytest.raises(OSError, match=r"No space left on device: '.*/output'"), writes(tmp_path / "output"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_directory_takes_the_place_of_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("earlier")
    with pytest.raises(NotADirectoryError, match="file"), atomic_directory(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "earlier"


def test_a_directory_behind_a_link_stays_behind_it(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "scratch")
    with atomic_directory(tmp_path / "link") as temporary:
        (temporary / "file").touch()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "scratch" / "file").exists()


def test_json_goes_round_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    value = {"b": [1, 2.5, None], "a": "text"}
    write_json(path, value)
    assert read_json(path) == value
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == value
    for content in (path.read_bytes()[:-3], b"", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"value\.json: not JSON, truncated or damaged"):
            read_json(path)
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        read_json(tmp_path / "none.json")


def test_digests_are_of_the_content(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "abc")
    assert sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert json_digest({"a": 1, "b": [1, 2]}) == json_digest({"b": [1, 2], "a": 1})
    assert json_digest({"a": 1}) != json_digest({"a": 2})
