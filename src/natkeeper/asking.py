"""What a pass asks packets: the control probe from outside the VPC, and whether a group's own get through now.

Called by `opening` and `acting`: beside them and `reconcile`, the only place that catches `Trouble`. May not import
boto3, adapters or handlers.
"""

from __future__ import annotations

from datetime import timedelta

from natkeeper.core.model import ControlProbe
from natkeeper.core.news import ProbeReport
from natkeeper.core.runs import answered
from natkeeper.errors import Trouble, TryAgain
from natkeeper.ports import Ports

LAST_CALL = timedelta(seconds=8)
"""No try of a call to EC2 leaves with less, nor a control probe: it takes up to 3 s, botocore waits up to 2 s before it
asks for the next one, which is refused, and the ledger's last write takes up to 3 s, two tries and the wait between. A
pass that AWS ends keeps its leases (simulation, seeds 60007559, 60008205, 810165196, 1300013334: answers were slow)."""
LAST_TRY = timedelta(seconds=11)
"""A throttled call is not tried again with less: a try takes up to 3 s, and a turn must be left in which what arrived
in the inbox is heard and the next watch run started. Without one, the chain of runs was broken until a tick. Nor is a
verification begun, which is waited for for 8 s: the watch run that was started beside the move tells as well."""


def has_time(ports: Ports, least: timedelta = LAST_CALL) -> bool:
    """For one more call, and for ending well after it."""
    return ports.clock.remaining() >= least


def control_probe(ports: Ports) -> ControlProbe | None:
    """The control probe, or None when it could not be sent."""
    if not has_time(ports):
        return None
    try:
        return ports.prober.control()
    except Trouble as trouble:
        ports.telemetry.troubled(None, trouble)
        return None


def ask(name: str, ports: Ports) -> ProbeReport | None:
    """Whether the group's packets get through now; None when its prober could not be asked."""
    try:
        if not has_time(ports, LAST_TRY):
            raise TryAgain("Invoke", "OutOfTime", "no time is left for a verification; the watch run tells")
        report = answered(ports.prober.verify(name), ports.clock.now())
    except Trouble as trouble:
        ports.telemetry.troubled(name, trouble)
        return None
    ports.telemetry.reported(report)
    return report
