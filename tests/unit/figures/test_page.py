"""The page as a file: what is in it, and that names of others are only text."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.cli.figures import main
from pipeline.data.molecule_parquet import read_molecules, write_molecules

if TYPE_CHECKING:
    from tests.unit.figures.conftest import FakeStudy

HOSTILE = """</script><script>a(1)</script><!--"'&$css"""
"""A name with an injection attack."""

# SHA-256 of build/3Dmol-min.js in that version of the npm package 3dmol.
LIBRARY = "f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016"


class Page(HTMLParser):
    """The elements of a page and their text."""

    def __init__(self, text: str):
        """Parse a page."""
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        """Leave it."""
        self._inside = ""

    def handle_data(self, data: str) -> None:
        """Note text."""
        if self._inside == "script":
            self.scripts[-1] += data
        else:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]


def page_in(folder: Path) -> Page:
    return Page((folder / "index.html").read_text(encoding="utf-8"))


@pytest.fixture
def page(drawn: Path) -> Page:
    return page_in(drawn)


def test_the_page_holds_all_that_it_shows(page: Page) -> None:
    for _, attributes in page.tags:
        for key in ("src", "href", "srcset", "data", "action", "poster"):
            assert (attributes.get(key) or "#").startswith(("#", "data:")), attributes
    # One place to go for each link, and no place twice.
    places = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(places) == len(set(places))
    links = [attributes["href"] or "" for attributes in page.all("a")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(places)
    assert all(image.get("alt") for image in page.all("img"))
    figures = {attributes["id"] for attributes in page.all("figure")}
    names = ("quality", "training", "gallery-edm", "trajectory", "distributions-edm", "structures-edm")
    assert figures == {f"figure-{name}" for name in names}


def test_the_table_has_floor_and_ceiling_and_what_each_sampler_costs(page: Page) -> None:
    text = " ".join(" ".join(page.text).split())
    for words in ("noise (floor)", "QM9 (ceiling)", "12 min", "heun-50", "0.10.2", "molecules64.sdf"):
        assert words in text, words
    cells = [float(cell["data-value"] or 0) for cell in page.all("td") if "data-value" in cell]
    assert {720.0, 50.0, 0.02} <= set(cells)


def test_only_the_two_scripts_of_the_page_may_run(page: Page) -> None:
    kinds = [script.get("type") for script in page.all("script")]
    assert kinds == ["application/json", None, None]
    (policy,) = [meta["content"] or "" for meta in page.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none';")
    assert re.findall(r"script-src ([^;]*);", policy)[0].count("'sha256-") == 2
    assert "unsafe-eval" not in policy


def test_the_library_is_what_the_registry_has_and_brings_its_licence(page: Page) -> None:
    library = files("pipeline.figures").joinpath("assets", "3Dmol-min.js").read_bytes()
    assert hashlib.sha256(library).hexdigest() == LIBRARY
    assert library.decode() in page.scripts
    # Within a page nothing of it may end the script or begin another.
    assert b"</script" not in library
    assert b"<!--" not in library
    assert "Redistribution and use in source and binary forms" in " ".join(page.text)


def test_names_that_want_to_be_more_are_text(one_run: FakeStudy, tmp_path: Path) -> None:
    sample = tmp_path / "sample.parquet"
    molecules = read_molecules(one_run.options["samples"][0])
    metadata = {**molecules.metadata, "sampler": HOSTILE, "run": "edm"}
    write_molecules(sample, molecules, metadata=metadata)
    metrics = json.loads(one_run.options["metrics"][0].read_text())
    (tmp_path / "metrics.json").write_text(
        json.dumps({"run": "edm", "samplers": {HOSTILE: metrics["samplers"]["heun-50"]}})
    )
    one_run.write_weights(tmp_path / "weights.safetensors", name="edm", objective="edm")
    options = {"samples": [sample], "metrics": [tmp_path / "metrics.json"]}
    assert main(one_run.argv(tmp_path / "figures", **options)) == 0
    page = page_in(tmp_path / "figures")
    assert [script.get("type") for script in page.all("script")] == ["application/json", None, None]
    assert HOSTILE in "".join(page.text)
    data: Mapping[str, Any] = json.loads(page.scripts[0])
    assert data["runs"][0]["samplers"][0]["name"] == HOSTILE
