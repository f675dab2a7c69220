"""Lambda's data plane for the lab: real function processes under Amazon's own runtime client.

`stack` makes a `FunctionHost` for each deployed function and registers its `invoke` with `api`, which is
Lambda's control plane. May not import moto, boto3 or natkeeper: the function's process does.
"""

from natkeeper_lab.runtime.host import FunctionHost
from natkeeper_lab.runtime.invocation import CURRENT, FunctionResult, Invocation, LogLine, Report
from natkeeper_lab.runtime.place import Here, Inside, Place

__all__ = ["CURRENT", "FunctionHost", "FunctionResult", "Here", "Inside", "Invocation", "LogLine", "Place", "Report"]
