import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pipeline.core.errors import InputError
from pipeline.training.checkpoint_files import Arrays, CheckpointFiles, content_digest


def write(path: Path, arrays: Arrays) -> None:
    save_file(dict(arrays), path)


def read(path: Path) -> Arrays:
    return load_file(path)


def state(step: int) -> dict[str, Any]:
    generator = np.random.default_rng(step)
    return {"step": np.array(step, np.int32), "weights": generator.normal(size=(3, 5)).astype(np.float32)}


def checkpoints(directory: Path, config: str = "this") -> CheckpointFiles:
    return CheckpointFiles(directory, config_digest=config, write=write, read=read)


class Notes(list[str]):
    def __call__(self, message: str) -> None:
        self.append(message)


def restored(directory: Path, notes: Notes | None = None, config: str = "this") -> int | None:
    """Return the step of the checkpoint that is restored, having checked its content."""
    found = checkpoints(directory, config).restore(lambda arrays: arrays, note=notes if notes is not None else Notes())
    if found is None:
        return None
    arrays, extra = found
    step = int(arrays["step"])
    for name, array in state(step).items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].tobytes() == array.tobytes()
    assert extra == {"seconds": step / 2}
    return step


def save(directory: Path, *steps: int) -> None:
    for step in steps:
        checkpoints(directory).save(step, state(step), {"seconds": step / 2})


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_newest_two_are_kept_and_the_newest_is_restored(tmp_path: Path) -> None:
    assert restored(tmp_path) is None
    save(tmp_path, 10, 200, 3000)
    assert names(tmp_path) == ["00000200", "00003000"]
    assert restored(tmp_path) == 3000


def test_every_damage_is_passed_over_for_the_checkpoint_before(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    path = tmp_path / "00000002" / "state"
    whole = path.read_bytes()
    flipped = [whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :] for place in range(len(whole))]
    for content in [*flipped, b"", whole[:-1], whole[: len(whole) // 2]]:
        path.write_bytes(content)
        notes = Notes()
        assert restored(tmp_path, notes) == 1
        assert len(notes) == 1
        assert notes[0].startswith("00000002: damaged checkpoint passed over")
        assert "\n" not in notes[0]


def test_a_cut_description_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    path = tmp_path / "00000002" / "meta.json"
    whole = path.read_bytes()
    for content in (b"", b"{}", whole[:-1], whole[:40]):
        path.write_bytes(content)
        assert restored(tmp_path) == 1


def test_what_a_kill_left_is_no_checkpoint_and_goes_with_the_next(tmp_path: Path) -> None:
    save(tmp_path, 1)
    half = tmp_path / "00000002.partial"
    half.mkdir()
    (half / "state").write_bytes(b"half of it")
    assert restored(tmp_path) == 1
    save(tmp_path, 3)
    assert names(tmp_path) == ["00000001", "00000003"]


def test_a_damaged_checkpoint_takes_no_place_from_a_sound_one(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    (tmp_path / "00000020" / "state").write_bytes(b"")
    assert restored(tmp_path) == 10
    save(tmp_path, 15)
    assert names(tmp_path) == ["00000010", "00000015"]
    assert restored(tmp_path) == 15


def test_a_step_may_be_saved_again(tmp_path: Path) -> None:
    save(tmp_path, 10, 20, 20)
    assert names(tmp_path) == ["00000010", "00000020"]
    assert restored(tmp_path) == 20


def test_a_missing_part_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    (tmp_path / "00000002" / "meta.json").unlink()
    assert restored(tmp_path) == 1
    shutil.rmtree(tmp_path / "00000001")
    assert restored(tmp_path) is None


def test_another_configuration_is_refused_and_nothing_touched(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    before = names(tmp_path)
    with pytest.raises(InputError, match="belongs to another configuration or other data") as caught:
        restored(tmp_path, config="that")
    assert str(tmp_path) in str(caught.value)
    assert names(tmp_path) == before


def test_a_write_that_fails_leaves_the_earlier_checkpoints(tmp_path: Path) -> None:
    def full(path: Path, arrays: Arrays) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    save(tmp_path, 1, 2)
    files = CheckpointFiles(tmp_path, config_digest="this", write=full, read=read)
    with pytest.raises(OSError, match="No space"):
        files.save(3, state(3), {"seconds": 1.5})
    assert restored(tmp_path) == 2


def test_a_file_too_many_or_too_few_is_damage(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    (tmp_path / "00000002" / "more").write_bytes(b"")
    assert restored(tmp_path) == 1
    (tmp_path / "00000002" / "more").unlink()
    assert restored(tmp_path) == 2
    (tmp_path / "00000002" / "state").rename(tmp_path / "00000002" / "renamed")
    assert restored(tmp_path) == 1


def test_metadata_is_readable(tmp_path: Path) -> None:
    save(tmp_path, 4)
    meta = json.loads((tmp_path / "00000004" / "meta.json").read_text())
    assert meta == {
        "step": 4,
        "config": "this",
        "content": content_digest(tmp_path / "00000004"),
        "extra": {"seconds": 2.0},
    }
