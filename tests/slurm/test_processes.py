"""A run that asks for two processes gets them from SLURM, and they train one run."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from .conftest import Study, tiny_study

pytestmark = pytest.mark.end_to_end

WEIGHTS = "results/runs/few/weights.safetensors"


def test_two_tasks_with_a_gpu_each_train_the_weights_of_one(untrained: Study, finished: Study) -> None:
    study = tiny_study()
    study["runs"]["few"]["resources"] = {"tasks": 2, "cpus": 1, "gpus": 1}
    untrained.run("--", WEIGHTS, study=study)
    (train,) = untrained.jobs("train")
    assert train["JobState"] == "COMPLETED"
    assert (train["NumTasks"], train["NumCPUs"]) == ("2", "2")
    assert train["TresPerJob"] == "gres:gpu:2"
    alone, together = load_file(finished.directory / WEIGHTS), load_file(untrained.directory / WEIGHTS)
    assert alone.keys() == together.keys()
    for name, array in alone.items():
        # Sums in another order.
        np.testing.assert_allclose(together[name], array, atol=1e-5, rtol=1e-5, err_msg=name)
