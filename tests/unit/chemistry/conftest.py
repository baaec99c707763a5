"""Real molecules of QM9 (Ramakrishnan et al. 2014), in angstrom, to test on."""

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.chemistry.elements import ATOMIC_NUMBER_OF_SYMBOL

Molecule = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]

_EXAMPLES = {
    "methane": """
        C  -0.0127   1.0858   0.0080
        H   0.0022  -0.0060   0.0020
        H   1.0117   1.4638   0.0003
        H  -0.5408   1.4475  -0.8766
        H  -0.5238   1.4379   0.9064
    """,
    "ammonia": """
        N  -0.0404   1.0241   0.0626
        H   0.0173   0.0125  -0.0274
        H   0.9158   1.3587  -0.0288
        H  -0.5203   1.3435  -0.7755
    """,
    "water": """
        O  -0.0344   0.9775   0.0076
        H   0.0648   0.0206   0.0015
        H   0.8718   1.3008   0.0007
    """,
    "hydrogen cyanide": """
        C  -0.0133   1.1325   0.0083
        N   0.0023  -0.0192   0.0019
        H  -0.0278   2.1989   0.0142
    """,
    "ethanol": """
        C  -0.0086   1.5020  -0.0068
        C   0.0110  -0.0176  -0.0138
        O   0.6809  -0.4404  -1.1931
        H   1.0115   1.8966  -0.0192
        H  -0.5316   1.8808  -0.8897
        H  -0.5167   1.8761   0.8871
        H   0.5238  -0.3891   0.8882
        H  -1.0203  -0.4051   0.0169
        H   0.6953  -1.4018  -1.2015
    """,
    "dimethyl ether": """
        C  -0.0148   1.3924   0.0057
        O  -0.0047  -0.0136   0.0146
        C   0.6379  -0.5533  -1.1136
        H   1.0053   1.8102   0.0047
        H  -0.5469   1.7934  -0.8725
        H  -0.5300   1.7229   0.9110
        H   0.1399  -0.2560  -2.0510
        H   1.6927  -0.2387  -1.1748
        H   0.5996  -1.6418  -1.0241
    """,
    "cyanogen": """
        N   0.0175  -1.1613  -0.0042
        C   0.0025  -0.0034   0.0018
        C  -0.0161   1.3722   0.0093
        N  -0.0326   2.5301   0.0161
    """,
    "tetrafluoromethane": """
        F   0.0011   0.0735   0.0025
        C  -0.0169   1.3948   0.0097
        F   1.2228   1.8522   0.0003
        F  -0.6560   1.8325  -1.0609
        F  -0.6354   1.8209   1.0969
    """,
    "benzene": """
        C  -0.0264   1.3835   0.0104
        C   1.1708   2.0966   0.0023
        C   2.3869   1.4164  -0.0131
        C   2.4057   0.0231  -0.0205
        C   1.2086  -0.6900  -0.0124
        C  -0.0075  -0.0098   0.0030
        H  -0.9733   1.9132   0.0224
        H   1.1560   3.1816   0.0080
        H   3.3191   1.9717  -0.0195
        H   3.3527  -0.5066  -0.0325
        H   1.2233  -1.7750  -0.0181
        H  -0.9398  -0.5651   0.0093
    """,
    "oxamate zwitterion": """
        N  -0.0056   1.3643   0.0080
        C   0.1097   0.0602   0.0008
        N   1.2013  -0.6625  -0.0139
        H   0.9771  -1.6598  -0.0163
        H   2.1482  -0.3193  -0.0219
        C  -1.2549  -0.7525   0.0115
        O  -2.2364  -0.0015   0.0252
        O  -1.0623  -1.9732   0.0040
        H   0.7473   2.0334   0.0038
        H  -0.9892   1.6425   0.0195
    """,
    "nitro-oxatriazole": """
        O  -0.1233   0.0095   0.0040
        N  -0.0252   1.2223   0.0071
        O   0.9909   1.8916   0.0026
        C  -1.2855   1.9630   0.0172
        N  -1.3580   3.2602   0.0212
        O  -2.6709   3.5046   0.0302
        N  -3.3702   2.2699   0.0313
        N  -2.5135   1.3562   0.0233
    """,
}


def _parsed(text: str) -> Molecule:
    rows = [line.split() for line in text.strip().splitlines()]
    numbers = np.array([ATOMIC_NUMBER_OF_SYMBOL[symbol] for symbol, *_ in rows], dtype=np.uint8)
    return numbers, np.array([point for _, *point in rows], dtype=np.float32)


@pytest.fixture(scope="session")
def examples() -> dict[str, Molecule]:
    """Atomic numbers [N] and positions [N, 3] by name."""
    return {name: _parsed(text) for name, text in _EXAMPLES.items()}
