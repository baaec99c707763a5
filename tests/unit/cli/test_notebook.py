import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.molecule_files import read_molecule_files

NOTEBOOK = Path(__file__).parents[3] / "docs" / "sample.ipynb"


def test_the_notebook_runs_and_its_molecules_are_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], in_process: None
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)  # noqa: S102
    assert len(read_molecule_files(tmp_path / "molecules.sdf", invalid="refuse").data.molecules) == 100
    # Text that is the same on any machine.
    shown = [line for cell in cells for one in cell.get("outputs", []) for line in one.get("text", [])]
    said = capsys.readouterr().out
    assert shown[0] == "100 molecules, 11 to 24 atoms\n"
    assert shown[0] in said and " 1 calls: " in said
