"""From SMILES to shards by Snakemake."""

from pathlib import Path
from typing import Any

from pipeline.data.molecule_parquet import read_columns, read_molecules
from pipeline.data.statistics import read_statistics

from .conftest import ROOT, Workflow

DRUGS = ROOT / "workflow" / "studies" / "drug-like.yaml"


def test_conformers_become_shards_and_changed_smiles_are_read_again(workflow: Workflow, tmp_path: Path) -> None:
    smiles = tmp_path / "mine.smi"
    smiles.write_text("c1ccsc1 thiophene\nCCBr\nCCCl\nCCO\nCCN\nC1CC broken\nCOC\nCCS\nCC=O\nC#N\nCC(=O)O\n")
    study: dict[str, Any] = {
        "data": {"name": "mine", "source": "smiles", "path": str(smiles), "skip": True},
        "runs": {
            "one": {
                "objective": "denoiser",
                "training": {"steps": 1000},
                "samplers": {"heun": {"kind": "heun", "steps": 3}},
            }
        },
    }
    shards = "results/data/mine/shards"
    assert workflow.planned(shards, study=study) == ["parse data=mine", "shard data=mine"]
    done = workflow.run("--cores", "2", shards, study=study)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "data" / "mine"
    molecules = read_molecules(folder / "molecules.parquet")
    assert molecules.metadata["source"] == "mine.smi"
    assert read_columns(folder / "molecules.parquet", ["index"])["index"].tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert read_statistics(folder / "statistics.json").elements == (1, 6, 7, 8, 16, 17, 35)
    assert "1 not read by RDKit, left out" in (tmp_path / "results" / "logs" / "parse" / "mine.log").read_text()
    assert workflow.planned(shards, study=study) == []
    smiles.write_text("CCO\nCCN\nCOC\n")
    assert workflow.planned(shards, study=study) == ["parse data=mine", "shard data=mine"]


def test_the_drug_like_study_starts_from_its_smiles(workflow: Workflow) -> None:
    planned = workflow.planned("results/figures", study=DRUGS)
    assert [job for job in planned if job.startswith(("download", "parse", "shard"))] == [
        "parse data=drug-like",
        "shard data=drug-like",
    ]
    assert [job for job in planned if job.startswith("train")] == ["train run=drug-like"]
