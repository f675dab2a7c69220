"""The lab's AWS API: `Api` and what its callers need to name. See `api.server`."""

from natkeeper_lab.api.machines import Machine
from natkeeper_lab.api.options import HAND, ApiOptions, Call
from natkeeper_lab.api.outbox import PacketsError
from natkeeper_lab.api.paces import REMAPS, Paces
from natkeeper_lab.api.server import Api
from natkeeper_lab.faults import Faults
from natkeeper_lab.runtime import FunctionResult

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
