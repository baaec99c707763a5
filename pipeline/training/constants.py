"""Numbers that every backend computes with."""

from typing import Final

# --- the network (``egnn``) -------------------------------------------------------------------------------------------

DISTANCE_EPSILON: Final = 1e-8
"""Keeps the gradient of a distance finite where two atoms coincide (and on the diagonal); EDM's value."""

RMS_EPSILON: Final = 1e-6
"""Added to the mean square that node features are divided by the root of."""

RADIAL_START: Final = 0.5
RADIAL_STOP: Final = 6.0
RADIAL_COUNT: Final = 16
"""Centres of the Gaussian radial functions: evenly spaced, each function as wide as their spacing."""

SMALLEST_LEVEL: Final = 1e-4
"""The noise level that replaces 0 as an input of the network."""

REGRESSOR_OUTPUTS: Final = 2
"""Numbers of a property regressor's node for each property."""

TYPICAL_SIZE: Final = 20.0
"""Atoms by which its sums and sizes are divided, to be of the order of 1."""

# --- the optimiser ----------------------------------------------------------------------------------------------------

ADAM_EPSILON: Final = 1e-8

MUON_RATE: Final = 15.0
"""Learning rate of Muon over that of Adam, which has what is no hidden matrix."""

MUON_EPSILON: Final = 1e-8
"""Added to the norm that a matrix is divided by."""

NEWTON_SCHULZ: Final = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS: Final = 5
"""Muon's iteration x <- a x + b x x^T x + c (x x^T)^2 x, which draws singular values towards 1 (Jordan et al. 2024)."""

CLIP_WINDOW: Final = 50
CLIP_START: Final = 3000.0
"""The adaptive clip of EDM's code looks at the last 50 gradient norms; their history starts with one of 3000."""

CLIP_EPSILON: Final = 1e-6
