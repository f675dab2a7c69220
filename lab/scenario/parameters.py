"""Whether natkeeper would take a file's template parameters: asked of its own settings, so that a bad one is named with
its line and not found when the controller does not start.

Called by `lab.scenario.file`. Pure.
"""

from __future__ import annotations

import json

from lab.scenario.vocabulary import PARAMETERS
from natkeeper.settings import BadSettings, parse

_SOUND = {
    "NATKEEPER_STACK": "any",
    "NATKEEPER_GROUP_A": json.dumps(
        {
            "tables": "rtb-1",
            "cidr": "10.0.2.0/24",
            "subnet": "subnet-1",
            "private": "subnet-2",
            "allocation": "eipalloc-1",
            "address": "198.51.100.1",
            "prober": "prober",
        }
    ),
    "NATKEEPER_PROBE_TARGETS": "tcp://203.0.113.1:443,tcp://203.0.113.2:443,tcp://203.0.113.3:443",
    "NATKEEPER_INSTANCE_TYPES": "t4g.nano",
    "NATKEEPER_STANDBY": "none",
    "NATKEEPER_LAUNCH_TEMPLATE": "lt-1",
    "NATKEEPER_LAUNCH_TEMPLATE_VERSION": "1",
    "NATKEEPER_VPC_ID": "vpc-1",
    "NATKEEPER_SECURITY_GROUP": "sg-1",
    "NATKEEPER_INSTANCE_PROFILE": "arn:aws:iam::123456789012:instance-profile/nat",
    "NATKEEPER_EGRESS_PROFILE": "all",
    "NATKEEPER_LEDGER": "ledger",
    "NATKEEPER_TOPIC": "topic",
    "NATKEEPER_CANARY_ADDRESS": "1.1.1.1",
}
"""An environment that natkeeper accepts, in which one parameter at a time is tried."""


def complaint(key: str, value: str) -> str:
    """What natkeeper has against this value, in the template's words; empty when nothing."""
    name = PARAMETERS[key]
    if not name or (key == "StandbyMode" and value == "auto"):
        return ""
    try:
        parse({**_SOUND, name: value})
    except BadSettings as problem:
        said = str(problem).removeprefix(f"{name}: ")
        return said + ("; auto is allowed too" if key == "StandbyMode" else "")
    return ""
