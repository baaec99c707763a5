import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.study import own_molecules
from pipeline.study.own_molecules import own_path, own_version


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two files, one of them a link, in a folder of its own; and one that is hidden."""
    inner = tmp_path / "mine" / "inner"
    inner.mkdir(parents=True)
    for name in ("target", "older"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (0, 1000))
    (inner / "a {1}.xyz").write_text("molecule")
    (inner / "link.xyz").symlink_to(tmp_path / "target")
    (inner / "nowhere.xyz").symlink_to(tmp_path / "none")
    (inner / ".hidden").write_text("")
    return inner.parent


@pytest.mark.parametrize(
    "command",
    [
        "echo more >>'{}/inner/a {1}.xyz'",
        "echo more >>{}/../target",
        "cp -p {}/../older '{}/inner/a {1}.xyz'",
        "cp -p {}/../older {}/inner/new.xyz",
        "rm {}/inner/link.xyz",
    ],
)
def test_whatever_happens_to_a_file_in_a_folder_is_a_change(folder: Path, command: str) -> None:
    before = own_version(str(folder))
    (folder / ".new").touch()
    (folder / "inner" / ".hidden").write_text("changed")
    assert own_version(str(folder)) == before
    subprocess.run(["/bin/sh", "-c", command.replace("{}", str(folder))], check=True)
    assert own_version(str(folder)) != before


@pytest.mark.parametrize("small", [0, 1000])
def test_a_file_that_an_older_one_replaces_has_changed(
    tmp_path: Path, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_molecules, "_SMALL", small)
    path, older = tmp_path / "a.xyz", tmp_path / "older.xyz"
    path.write_text("new")
    older.write_text("old")
    os.utime(older, (0, 1000))
    before = own_version(str(path))
    # The same content at another time, as in a copy of the project, is told only where that takes no time.
    os.utime(path, (0, 2000))
    assert (own_version(str(path)) == before) == bool(small)
    shutil.copy2(older, path)
    assert own_version(str(path)) != before


def test_what_cannot_be_read_is_one_line_and_what_is_not_there_has_no_version(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert own_version(str(folder / "none")) == ""
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("inner"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    # Whoever runs this may be root, who can read everything.
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"^data\.path: .*/mine/inner: Permission denied$"):
        own_version(str(folder))


def test_a_path_is_relative_to_the_study_and_written_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert own_path({"path": None}, str(tmp_path)) is None
    assert own_path({"path": "/m.sdf"}, str(tmp_path)) == "/m.sdf"
    assert own_path({"path": "m.sdf"}, str(tmp_path)) == "../m.sdf"
