"""The properties of QM9 (Ramakrishnan et al. 2014, doi:10.1038/sdata.2014.22), their units and names."""

from typing import Final, NamedTuple


class Property(NamedTuple):
    """A property of QM9."""

    name: str
    unit: str
    qm9pack: str
    """Name of its column in qm9pack."""


PROPERTIES: Final = (
    Property("rotational_constant_a", "GHz", "RotA_GHz"),
    Property("rotational_constant_b", "GHz", "RotB_GHz"),
    Property("rotational_constant_c", "GHz", "RotC_GHz"),
    Property("dipole_moment", "debye", "Dipole_debye"),
    Property("polarizability", "bohr^3", "Polarizability_bohr3"),
    Property("homo", "hartree", "HOMO_au"),
    Property("lumo", "hartree", "LUMO_au"),
    Property("gap", "hartree", "HOMO_LUMO_gap_au"),
    Property("r2", "bohr^2", "R2_bohr2"),
    Property("zpve", "hartree", "ZPVE_au"),
    Property("u0", "hartree", "InternalEnergy_0K_au"),
    Property("u", "hartree", "InternalEnergy_298K_au"),
    Property("h", "hartree", "Enthalphy_298K_au"),
    Property("g", "hartree", "GibbsFreeEnergy_298K_au"),
    Property("cv", "cal/(mol K)", "Heatcapacity_Cv_cal_mol_K"),
)
"""In the order of the official files (table 3 of the paper); u, h, g and cv are at 298.15 K."""

ALIASES: Final = {"alpha": "polarizability", "mu": "dipole_moment", "Cv": "cv"}
"""Names that the literature uses for properties, and ours."""

NAMES: Final = (*ALIASES, *(one.name for one in PROPERTIES))
"""All names by which a run can ask for one."""
