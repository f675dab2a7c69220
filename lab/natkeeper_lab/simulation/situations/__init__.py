"""Every plan's starting situation, as one table that `simulation.small_worlds` explores."""

from natkeeper_lab.simulation.situations import healing, moves, outages
from natkeeper_lab.simulation.situations.table import SITUATIONS, Situation

__all__ = ["SITUATIONS", "Situation"]

MODULES = (outages, moves, healing)
"""Imported for their rows."""
