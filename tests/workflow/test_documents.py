"""What the documents say about the project is true."""

import re
from pathlib import Path

import pytest

from pipeline.study.settings_table import with_settings_table

from .conftest import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "tests" / "data" / "README.md"])
FOLDERS = "|".join(path.name for path in ROOT.glob("[!.]*/") if path.name != "results")

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_setting_is_listed() -> None:
    document = (ROOT / "docs" / "settings.md").read_text()
    assert document == with_settings_table(document), "run: make readme"


def test_every_document_is_reachable_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        targets = re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", path.read_text())
        waiting += [(path.parent / target).resolve() for target in targets]
    assert set((ROOT / "docs").glob("*.md")) <= reached


@each_document
def test_links_resolve(path: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", path.read_text()):
        if target.startswith("https://"):
            continue
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


@each_document
def test_named_files_exist(path: Path) -> None:
    for name in re.findall(rf"`((?:{FOLDERS})/[A-Za-z0-9_./-]+)`", path.read_text()):
        assert (ROOT / name).exists(), name


@each_document
def test_linked_functions_exist(path: Path) -> None:
    for name, file in re.findall(r"\[`([A-Za-z0-9_.]+)`\]\(([^)]+\.py)\)", path.read_text()):
        # `Class.method` and `module.function` name a definition by their last part.
        definition = rf"^\s*(?:def|class) {name.split('.')[-1]}\b"
        code = (path.parent / file).read_text()
        assert re.search(definition, code, flags=re.MULTILINE), f"{name} in {file}"


def test_every_rule_file_says_what_goes_in_and_out() -> None:
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        header = path.read_text().split("\n\n")[0]
        assert path.name == "common.smk" or ("# in:" in header and "# out:" in header), path.name
