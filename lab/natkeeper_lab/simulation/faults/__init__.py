"""Everything that can go wrong, as one table: it drives the campaign, and docs/failure-modes.md is made from it."""

from natkeeper_lab.simulation.faults import api, events, hostile, launches, packets, people, process
from natkeeper_lab.simulation.faults.table import FAULTS, Act, Fault

__all__ = ["COMPLICATIONS", "FAULTS", "TROUBLES", "Act", "Fault"]

MODULES = (api, launches, events, process, packets, people, hostile)
"""Imported for their rows."""
TROUBLES = tuple(name for name, each in FAULTS.items() if not each.is_complication)
COMPLICATIONS = tuple(name for name, each in FAULTS.items() if each.is_complication)
