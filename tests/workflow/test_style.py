"""The rules and the code keep to their rules."""

import sys
from pathlib import Path

from .conftest import ROOT, TINY, run

BIN = Path(sys.executable).parent


def test_snakemake_finds_nothing_to_better() -> None:
    done = run([BIN / "snakemake", "--lint", "--configfile", TINY])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_formatted() -> None:
    done = run([BIN / "snakefmt", "--check", "Snakefile", "workflow/rules"])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_layers_hold() -> None:
    done = run([BIN / "lint-imports", "--no-cache"])
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_file_says_what_goes_in_and_out() -> None:
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        header = path.read_text().split("\n\n")[0]
        assert path.name == "common.smk" or ("# in:" in header and "# out:" in header), path.name
