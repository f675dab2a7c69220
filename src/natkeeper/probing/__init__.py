"""Probing: rounds of new connections on a fixed schedule, judged as they come in.

Called by the prober's handler (from inside the private subnet) and by the controller as *control probe* (from
outside). May import nothing but light parts of the standard library: its import is part of the prober's cold start,
which is part of detection. What a report means is `natkeeper.triggers`' and `core`'s business.
"""

from natkeeper.probing.engine import ControlProbe, Network, control_probe, run, summary
from natkeeper.probing.request import (
    VERIFY,
    WATCH,
    Request,
    Target,
    parse_request,
    parse_target,
    parse_targets,
)
from natkeeper.probing.sockets import tls_context

__all__ = [
    "VERIFY",
    "WATCH",
    "ControlProbe",
    "Network",
    "Request",
    "Target",
    "control_probe",
    "parse_request",
    "parse_target",
    "parse_targets",
    "run",
    "summary",
    "tls_context",
]
