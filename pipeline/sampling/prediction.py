"""Properties that a regressor predicts for any molecules."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.chemistry.molecules import Molecules
from pipeline.core.progress import Progress
from pipeline.data.batches import PaddedMolecules
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
    for shard in make_shards(molecules, index=np.arange(len(molecules)), split=labels, buckets=widths)["test"]:
        for start in range(0, len(shard), BATCH):
            rows = np.arange(start, min(start + BATCH, len(shard)))
            # Filled up: a compiled program has one shape.
            found[shard.index[rows]] = predict(PaddedMolecules.of(shard, np.resize(rows, BATCH)))[: len(rows)]
            progress.update(len(rows))
    return found * properties.mad + properties.mean
