"""The locks are complete and agree, and conda's environments with them."""

import importlib.util
import re
import shutil
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .conftest import ROOT, run

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = ("runtime", "dev", "cuda")


def load_lock_script() -> ModuleType:
    """Return requirements/lock.py as a module."""
    spec = importlib.util.spec_from_file_location("lock", ROOT / "requirements" / "lock.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


lock_script = load_lock_script()


def text(name: str) -> str:
    """Return a lock."""
    return (ROOT / "requirements" / f"{name}.txt").read_text()


def pins(name: str) -> dict[str, str]:
    """Return the versions of a lock."""
    found: dict[str, str] = lock_script.pins(text(name))
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_every_file_is_known_by_its_hash_and_none_by_its_address(name: str) -> None:
    entries = re.split(r"^(?=[A-Za-z0-9])", re.sub(r"^ *#.*\n", "", text(name), flags=re.MULTILINE), flags=re.MULTILINE)
    entries = [entry for entry in entries if entry.strip()]
    assert len(entries) == len(pins(name))
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"://|--(index|extra-index|find-links|trusted)", text(name))


@pytest.mark.parametrize("name", LOCKS)
def test_the_locks_have_what_the_project_asks_for(name: str) -> None:
    requirements = [
        *PROJECT["dependencies"],
        *(line for extra in lock_script.EXTRAS[name] for line in PROJECT["optional-dependencies"][extra]),
    ]
    for requirement in map(Requirement, requirements):
        assert requirement.specifier.contains(pins(name)[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("name", ["dev", "cuda"])
def test_the_locks_agree(name: str) -> None:
    assert pins("runtime").items() <= pins(name).items()


@pytest.mark.parametrize("name", lock_script.CONDA)
def test_conda_environments_have_the_pins_of_the_lock(name: str) -> None:
    path: Path = ROOT / "envs" / f"{name}.yaml"
    assert path.read_text() == lock_script.conda_environment(name), "run: make lock"


def test_pytorch_is_pinned_to_exact_versions_that_no_lock_contradicts() -> None:
    lines = [line for line in text("torch").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z]+==[0-9.]+", line) for line in lines)
    torch = pins("torch")
    assert PROJECT["optional-dependencies"]["torch"] == [f"torch=={torch['torch']}"]
    for name in LOCKS:
        assert all(pins(name).get(package, version) == version for package, version in torch.items())


def test_the_container_is_built_from_what_is_here() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    sources = [name for line in lines if line.startswith("COPY ") for name in line.split()[2:-1]]
    assert "pyproject.toml" in sources
    assert [name for name in sources if not (ROOT / name).exists()] == []
    (made,) = [line.split()[2:] for line in lines if line.startswith("RUN make ")]
    done = run(["make", "--dry-run", *made])
    assert done.returncode == 0, done.stderr
    # The user that the container runs as is made before anything of the project's is run.
    assert lines.index("USER user") < lines.index(f"RUN make {' '.join(made)}")


def test_the_container_is_built_and_samples_for_any_user() -> None:
    if not shutil.which("docker") or run(["docker", "info"]).returncode:
        pytest.skip("no container engine is running")
    built = run(["docker", "build", "--quiet", str(ROOT)])
    assert built.returncode == 0, built.stderr
    sample = [".venv/bin/consistent-edm", "sample", "--weights", "few-step", "--calls", "1", "--num", "2"]
    done = run(["docker", "run", "--rm", "--user", "12345", built.stdout.strip(), *sample, "--output", "/tmp/two.sdf"])
    assert done.returncode == 0, done.stderr
