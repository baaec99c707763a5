from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.jax_backend.checkpoints import Checkpoints


class State(NamedTuple):
    step: jax.Array
    optimizer: Any
    weights: jax.Array


def state(step: int) -> State:
    generator = np.random.default_rng(step)
    # So many leaves that their numbers have two digits, of two types, and nothing where there is none.
    many = tuple(jnp.asarray(generator.normal(size=2), jnp.float32) for _ in range(12))
    return State(
        jnp.array(step, jnp.int32),
        (many, None),
        jnp.asarray(generator.normal(size=(3, 4)), jnp.float32),
    )


def restored(directory: Path, notes: list[str] | None = None) -> int | None:
    """Return the step of the checkpoint that is restored, having checked that it is bit for bit what was saved."""
    said: list[str] = [] if notes is None else notes
    found = Checkpoints(directory, config_digest="this").restore(state(0), note=said.append)
    if found is None:
        return None
    value, extra = found
    step = int(value.step)
    assert str(jax.tree.structure(value)) == str(jax.tree.structure(state(step)))
    for a, b in zip(jax.tree.leaves(value), jax.tree.leaves(state(step)), strict=True):
        assert np.asarray(a).dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    assert extra == {"seconds": 1.5}
    return step


def save(directory: Path, *steps: int) -> None:
    checkpoints = Checkpoints(directory, config_digest="this")
    for step in steps:
        checkpoints.save(step, state(step), {"seconds": 1.5})


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    assert restored(tmp_path) is None
    save(tmp_path, 3, 10, 20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000010", "00000020"]
    assert restored(tmp_path) == 20


def test_a_flipped_bit_in_any_file_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    files = [path for path in (tmp_path / "00000002" / "state").rglob("*") if path.is_file() and path.stat().st_size]
    assert len(files) > 2
    for path in files:
        whole = path.read_bytes()
        place = len(whole) // 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        notes: list[str] = []
        assert restored(tmp_path, notes) == 1
        assert len(notes) == 1
        assert "00000002: damaged checkpoint passed over" in notes[0]
        path.write_bytes(whole)
    assert restored(tmp_path) == 2


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with pytest.raises(InputError, match="belongs to another configuration or other data"):
        Checkpoints(tmp_path, config_digest="that").restore(state(0), note=print)


def test_a_state_of_another_shape_is_no_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, 1)
    notes: list[str] = []
    assert Checkpoints(tmp_path, config_digest="this").restore({"a": jnp.zeros(3)}, note=notes.append) is None
    assert len(notes) == 1
