"""What the person who carries the pager reads: an incident in one sentence, a warning. Called by the pass.

Says only what is known: an interval where the downtime is one, and "not known" where it is not. May not import
anything but the standard library's data types.
"""

from __future__ import annotations

from datetime import timedelta

from natkeeper.core.incident import Cause, Incident
from natkeeper.core.plan import Happening, IncidentClosed, IncidentLasts, Warned
from natkeeper.core.telling import WHO

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
    Cause.SOURCE_DEST_CHECK: "source/dest check was turned on and natkeeper turned it off again",
}


def message_of(group: str, happening: Happening) -> str | None:
    """What people are sent of it; None for what is for the log alone. It always names the zone."""
    if isinstance(happening, IncidentClosed):
        return None if happening.is_quiet else tell(happening)
    if isinstance(happening, IncidentLasts):
        return lasts(happening)
    if isinstance(happening, Warned) and happening.key is not None:
        return happening.text.replace(f"group {group}", f"zone {group}", 1)
    return None


def lasts(happening: IncidentLasts) -> str:
    """One sentence: whose, what, since when, and what is being done."""
    incident = happening.incident
    what = f"zone {incident.group}'s {CAUSES[incident.cause]}"
    detail = happening.detail.removeprefix(f"group {incident.group} has no egress and ")
    return f"{what}, egress has been down since {incident.opened_at:%H:%M:%S} UTC and is not known to be back: {detail}"


def tell(closed: IncidentClosed) -> str:
    """One sentence: whose, what, how long, which address, and whether anything is left to do."""
    incident = closed.incident
    what = f"zone {incident.group}'s {CAUSES[incident.cause]}"
    return ", ".join((what, _span(closed), _address(incident), _duty(closed)))


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


def _duty(closed: IncidentClosed) -> str:
    incident = closed.incident
    duties = [closed.left] if closed.left else []
    if incident.is_last_resort:
        duties.append("moved to a NAT that was not verified before: please look")
    elif incident.has_address_changed:
        duties.append("allow-lists at the far end may need the new address")
    if incident.cause is Cause.SOURCE_DEST_CHECK:
        duties.append(WHO)
    return "; ".join(duties) or "nothing for you to do"
