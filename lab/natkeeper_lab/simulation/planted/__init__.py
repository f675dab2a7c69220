"""Bugs planted in natkeeper's own logic, to see that the campaign catches them.

`tests/simulation/test_planted.py` plays each one's seed (`seeds.json`) with the bug and without it; `python -m
simulation.planted --search` finds new seeds when natkeeper or the simulation changed.
"""

from natkeeper_lab.simulation.planted import healing, hostile, keeping, moving, peers
from natkeeper_lab.simulation.planted.table import MUTANTS, Mutant, Patch, planted

__all__ = ["MODULES", "MUTANTS", "Mutant", "Patch", "planted"]

MODULES = (peers, moving, healing, keeping, hostile)
"""Imported for their rows."""
