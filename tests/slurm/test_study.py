"""The tiny study through SLURM from molecules to figures, told from SLURM's own records."""

import json
from itertools import combinations

import pytest

from pipeline.data.molecule_parquet import read_molecules

from .conftest import Study, rule_of

pytestmark = pytest.mark.end_to_end

NETWORK = {"train", "levels", "sample_part", "likelihood"}
OTHERS = {"parse", "shard", "judge", "evaluate", "noise", "noise_floor", "reference", "figures"}


def test_every_job_ran_on_the_cluster_once_and_succeeded(finished: Study) -> None:
    jobs = finished.jobs()
    assert {rule_of(job) for job in jobs} == NETWORK | OTHERS
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}
    assert len(finished.jobs("train")) == 2
    # Samples are split as far as there are whole batches of 256.
    assert len(finished.jobs("sample_part")) == 2 + 1
    assert len(finished.jobs("judge")) == 2 + 1
    assert (finished.directory / "results" / "figures" / "index.html").exists()


def test_jobs_ran_on_the_partitions_and_gpus_of_the_profile(finished: Study) -> None:
    for job in finished.jobs():
        network = rule_of(job) in NETWORK
        assert job["Partition"] == ("gpu" if network else "cpu")
        assert job.get("TresPerJob") == ("gres:gpu:1" if network else None)
        if network:
            assert job["NumCPUs"] == "4"


def test_jobs_ran_on_both_gpus_at_a_time(finished: Study) -> None:
    times = [(job["StartTime"], job["EndTime"]) for job in finished.jobs() if rule_of(job) in NETWORK]
    assert any(first[0] < second[1] and second[0] < first[1] for first, second in combinations(times, 2))


def test_jobs_asked_for_the_time_and_memory_of_their_run(finished: Study) -> None:
    for train in finished.jobs("train"):
        # A start of ten minutes, and less than a minute of training; the memory of a job with a GPU and four cores.
        assert train["TimeLimit"] == "00:11:00"
        assert train["MinMemoryNode"] == "7400M"
    (parse,) = finished.jobs("parse")
    assert parse["TimeLimit"] == "00:10:00"


@pytest.mark.parametrize(("run", "sampler", "num"), [("tiny", "heun-5", 300), ("few", "steps-1", 16)])
def test_samples_and_scores_were_merged_and_the_parts_deleted(
    finished: Study, run: str, sampler: str, num: int
) -> None:
    folder = finished.directory / "results" / "runs" / run
    assert len(read_molecules(folder / "samples" / f"{sampler}.parquet")) == num
    assert not list((folder / "samples").glob("*/*"))
    assert not list((folder / "evaluation").glob("*/*"))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["samplers"][sampler]["num_molecules"] == num


def test_snakemake_finds_nothing_more_to_do(finished: Study) -> None:
    before = len(finished.jobs())
    finished.run("--set-scatter", "sample=2", "evaluate=2", "--", "results/figures")
    assert "Nothing to be done" in finished.said.read_text()
    assert len(finished.jobs()) == before
