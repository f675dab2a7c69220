"""An incident in one sentence for the person who carries the pager. Called by telemetry and the lab.

Says only what is known: an interval where the downtime is one, and "not known" where it is not. May not import
anything but the standard library's data types.
"""

from __future__ import annotations

from datetime import timedelta

from natkeeper.core.incident import Cause, Incident
from natkeeper.core.plan import IncidentClosed

TENTH = timedelta(milliseconds=100)
CAUSES = {
    Cause.INSTANCE_STOPPED: "NAT stopped",
    Cause.INSTANCE_GONE: "NAT was terminated",
    Cause.ROUTE_MISSING: "default route was missing",
    Cause.ROUTE_BLACKHOLE: "NAT is gone",
    Cause.PROBES_FAILED: "NAT stopped forwarding",
    Cause.ADDRESS_GONE: "Elastic IP is gone",
    Cause.ADDRESS_REFUSED: "Elastic IP could not be moved",
    Cause.TRANSIENT: "egress failed for a moment and came back by itself",
    Cause.PLANNED_MOVE: "traffic was moved on purpose",
    Cause.EXTERNAL: "probe targets were out of reach, from outside the VPC too",
}


def tell(closed: IncidentClosed) -> str:
    """One sentence: whose, what, how long, which address, and whether anything is left to do."""
    incident = closed.incident
    what = f"zone {incident.group}'s {CAUSES[incident.cause]}"
    return ", ".join((what, _span(closed), _address(incident), _duty(incident)))


def _span(closed: IncidentClosed) -> str:
    if closed.high is None:
        return f"egress was down at least {_seconds(closed.low)}, the end was not observed"
    if closed.low == timedelta(0):
        return f"egress was down at most {_rounded_up(closed.high)}"
    return f"egress was down {_seconds(closed.low)} to {_rounded_up(closed.high)}"


def _seconds(span: timedelta) -> str:
    """Rounded down: an interval that contains the truth must go on doing so in print."""
    return f"{span // TENTH / 10:.1f} s"


def _rounded_up(span: timedelta) -> str:
    return f"{-(-span // TENTH) / 10:.1f} s"


def _address(incident: Incident) -> str:
    changed = incident.has_address_changed
    if changed is None:
        return "the egress address after it is not known yet"
    if changed:
        return f"the egress address changed from {incident.address_before} to {incident.address_after}"
    return f"same address {incident.address_after}"


def _duty(incident: Incident) -> str:
    if incident.is_last_resort:
        return "moved to a NAT that was not verified before: please look"
    if incident.has_address_changed:
        return "allow-lists at the far end may need the new address"
    return "nothing for you to do"
