"""Properties that a regressor predicts for any molecules."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecules import Molecules
from pipeline.core.progress import Progress
from pipeline.data.batches import PaddedMolecules, full_batches
from pipeline.data.properties import PropertyStatistics
from pipeline.data.shards import make_shards

BATCH: Final = 256


def predict_in_batches(
    predict: Callable[[PaddedMolecules], npt.NDArray[np.float32]],
    properties: PropertyStatistics,
    molecules: Molecules,
    *,
    buckets: Iterable[int],
    progress: Progress,
) -> npt.NDArray[np.float64]:
    """Return the properties of molecules in the units of the data, [M, P].

    Args:
      predict: maps ``BATCH`` molecules to their normalised properties.
      properties: those of the regressor.
      molecules: M molecules.
      buckets: sizes to pad them to.
      progress: advances by every molecule.
    """
    found = np.zeros((len(molecules), len(properties.names)))
    labels: npt.NDArray[Any] = np.full(len(molecules), "test", object)
    widths = sorted({*buckets, int(molecules.sizes.max())})
    shards = make_shards(molecules, index=np.arange(len(molecules)), split=labels, buckets=widths)["test"]
    for shard, rows, batch in full_batches(shards, BATCH):
        found[shard.index[rows]] = predict(batch)[: len(rows)]
        progress.update(len(rows))
    return found * properties.mad + properties.mean
