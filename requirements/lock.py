"""Write the locks from pyproject.toml, and the conda environments from the locks.

    python requirements/lock.py             make them fit pyproject.toml, keeping versions where they fit
    python requirements/lock.py --upgrade   take the newest versions that pyproject.toml admits

requirements/runtime.txt   what the workflow runs on
requirements/dev.txt       that and the tools of tests and checks
requirements/cuda.txt      runtime with JAX for NVIDIA GPUs
envs/{runtime,cuda}.yaml   the same pins for conda
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Extras of pyproject.toml that each lock has; every lock agrees with runtime.
EXTRAS = {"runtime": ["workflow"], "dev": ["workflow", "dev", "evaluation"], "cuda": ["workflow", "cuda"]}
CONDA = ("runtime", "cuda")


def compile_lock(name: str, *, upgrade: bool) -> None:
    """Write one lock with pip-compile, hashes of every platform's files and no address of an index in it."""
    command = [sys.executable, "-m", "piptools", "compile", "--quiet", "--generate-hashes", "--strip-extras"]
    command += ["--allow-unsafe", "--build-deps-for=editable"]
    command += ["--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-find-links"]
    command += [f"--extra={extra}" for extra in EXTRAS[name]]
    if name != "runtime":
        command += ["--constraint=requirements/runtime.txt"]
    if upgrade:
        command += ["--upgrade"]
    command += [f"--output-file=requirements/{name}.txt", "pyproject.toml"]
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"CUSTOM_COMPILE_COMMAND": "make lock"})


def pins(lock: str) -> dict[str, str]:
    """Return the versions that the text of a lock pins, by name of the package."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, flags=re.MULTILINE))


def conda_environment(name: str) -> str:
    """Return the conda environment with the pins of a lock.

    conda brings Python, pip the packages: they are the files that the tests ran with.
    """
    lock = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    lines = [f"      - {package}=={version}" for package, version in pins(lock).items()]
    return "\n".join(
        [
            f"# The pins of requirements/{name}.txt for conda, written by `make lock`.",
            f"name: consistent-edm-{name}",
            "channels:",
            "  - conda-forge",
            "  - nodefaults",
            "dependencies:",
            "  - python=3.11",
            "  - pip",
            "  - pip:",
            *lines,
            "",
        ]
    )


def main() -> None:
    """Write them all."""
    parser = argparse.ArgumentParser(description="Write requirements/*.txt and envs/*.yaml from pyproject.toml.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that pyproject.toml admits")
    args = parser.parse_args()
    for name in EXTRAS:
        print(f"requirements/{name}.txt ...", flush=True)
        compile_lock(name, upgrade=args.upgrade)
    for name in CONDA:
        (ROOT / "envs" / f"{name}.yaml").write_text(conda_environment(name), encoding="utf-8")


if __name__ == "__main__":
    main()
