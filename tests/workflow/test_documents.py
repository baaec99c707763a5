"""What the documents say of the project holds."""

import re

import pytest

from pipeline.study.settings_table import with_settings_table

from .conftest import ROOT

DOCUMENTS = sorted(ROOT.glob("*.md"))


def test_the_readme_lists_every_setting() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme == with_settings_table(readme), "run: make readme"


def test_the_readme_names_every_stage() -> None:
    modules = (ROOT / "pipeline" / "cli").glob("*.py")
    stages = {path.stem for path in modules if "def main(" in path.read_text()} - {"settings"}
    listed = re.search(r"The stages are\n?(.*?)\.\n", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert listed
    assert set(re.findall(r"`([a-z]+)`", listed[1])) == stages


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: str) -> None:
    text = (ROOT / path).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(path: str) -> None:
    text = (ROOT / path).read_text()
    for name in re.findall(r"`((?:workflow|pipeline|requirements|envs|tests|docs)/[A-Za-z0-9_./-]*)`", text):
        assert (ROOT / name).exists() or "*" in name, name
