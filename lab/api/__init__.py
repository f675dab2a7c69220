"""The lab's AWS API: `Api` and what its callers need to name. See `lab.api.server`."""

from lab.api.faults import Faults
from lab.api.machines import Machine
from lab.api.options import HAND, ApiOptions, Call
from lab.api.outbox import PacketsError
from lab.api.paces import REMAPS, Paces
from lab.api.server import Api
from lab.runtime import FunctionResult

__all__ = [
    "HAND",
    "REMAPS",
    "Api",
    "ApiOptions",
    "Call",
    "Faults",
    "FunctionResult",
    "Machine",
    "Paces",
    "PacketsError",
]
