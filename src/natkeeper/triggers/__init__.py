"""Turns what woke the controller up into `core.news`: AWS's events, the prober's results, the operator's commands.

Called by the controller's handler, and by the ledger's adapter for the inbox (`to_record`, `from_record`). Refuses with
`Foreign` what is not for us and with `Malformed` what should be but cannot be read; nothing else is ever raised, and a
refused event changes nothing. Tolerates fields it does not know: AWS adds some without notice. May import neither
boto3 nor Powertools.
"""

from natkeeper.triggers.event import parse
from natkeeper.triggers.fields import Foreign, Malformed, plain
from natkeeper.triggers.record import from_record, to_record
from natkeeper.triggers.report import parse_report

__all__ = ["Foreign", "Malformed", "from_record", "parse", "parse_report", "plain", "to_record"]
