from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.training.checkpoint_files import CheckpointFiles


def state(step: int) -> dict[str, Any]:
    generator = np.random.default_rng(step)
    return {"step": np.array(step, np.int32), "weights": generator.normal(size=(3, 5)).astype(np.float32)}


def checkpoints(directory: Path, config: str = "this") -> CheckpointFiles:
    return CheckpointFiles(directory, config_digest=config)


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
    assert names(tmp_path) == ["00000200.safetensors", "00003000.safetensors"]
    assert restored(tmp_path) == 3000


def test_every_damage_is_passed_over_for_the_checkpoint_before(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    path = tmp_path / "00000002.safetensors"
    whole = path.read_bytes()
    flipped = [whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :] for place in range(len(whole))]
    for content in [*flipped, b"", whole[:-1], whole[: len(whole) // 2]]:
        path.write_bytes(content)
        notes = Notes()
        assert restored(tmp_path, notes) == 1
        assert len(notes) == 1
        assert notes[0].startswith("00000002: damaged checkpoint passed over")
        assert "\n" not in notes[0]


def test_what_a_kill_left_is_no_checkpoint_and_goes_with_the_next(tmp_path: Path) -> None:
    save(tmp_path, 1)
    half = tmp_path / ".00000002.safetensors.x"
    half.mkdir()
    (half / "00000002.safetensors").write_bytes(b"half of it")
    assert restored(tmp_path) == 1
    save(tmp_path, 3)
    assert names(tmp_path) == ["00000001.safetensors", "00000003.safetensors"]


def test_a_damaged_checkpoint_takes_no_place_from_a_sound_one(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    (tmp_path / "00000020.safetensors").write_bytes(b"")
    assert restored(tmp_path) == 10
    save(tmp_path, 15)
    assert names(tmp_path) == ["00000010.safetensors", "00000015.safetensors"]
    assert restored(tmp_path) == 15


def test_a_step_may_be_saved_again(tmp_path: Path) -> None:
    save(tmp_path, 10, 20, 20)
    assert names(tmp_path) == ["00000010.safetensors", "00000020.safetensors"]
    assert restored(tmp_path) == 20


def test_another_configuration_is_refused_and_nothing_touched(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    before = names(tmp_path)
    with pytest.raises(InputError, match="belongs to another configuration or other data") as caught:
        restored(tmp_path, config="that")
    assert str(tmp_path) in str(caught.value)
    assert names(tmp_path) == before


def test_a_write_that_fails_leaves_the_earlier_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    save(tmp_path, 1, 2)
    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr(Path, "write_bytes", full)
        save(tmp_path, 3)
    assert names(tmp_path) == ["00000001.safetensors", "00000002.safetensors"]
    assert restored(tmp_path) == 2


def test_a_state_that_cannot_be_built_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 1)
    notes = Notes()
    assert checkpoints(tmp_path).restore(lambda arrays: arrays["absent"], note=notes) is None
    assert notes == ["00000001: damaged checkpoint passed over (KeyError: 'absent')"]
