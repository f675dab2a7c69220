"""A file's template parameters. Whether natkeeper would take them is asked of its own settings, so that a bad one is
named with its line and not found when the controller does not start.

Called by `scenario.file`. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from natkeeper.settings import BadSettings, parse
from natkeeper_lab.scenario.reading import Entry, choices
from natkeeper_lab.scenario.vocabulary import MADE_BY_THE_LAB, NAT_GATEWAYS, OWN, PARAMETERS

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


def stack_of(top: Entry, zones: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The parameters as texts, and the zones in which a NAT gateway is asked for. BadScenario for what is neither."""
    given = top.get("stack")
    if given is None:
        return {}, ()
    if not isinstance(given, Entry):
        raise top.wrong("stack: expected template parameters such as {ProbeInterval: 1}", "stack")
    gateways = tuple(_gateway(given, key, zones) for key in given if key in NAT_GATEWAYS)
    return {key: _parameter(given, key) for key in given if key not in NAT_GATEWAYS}, gateways


def _gateway(given: Entry, key: str, zones: Sequence[str]) -> str:
    zone = NAT_GATEWAYS[key]
    if given[key] != MADE_BY_THE_LAB:
        raise given.wrong(f"stack: {key}: {OWN}; write {MADE_BY_THE_LAB}, not {given[key]!r}", key)
    if zone not in zones:
        raise given.wrong(
            f"stack: {key}: there is no zone {zone!r} in this scenario; its zones: {', '.join(zones)}", key
        )
    return zone


def _parameter(given: Entry, key: str) -> str:
    value = given[key]
    if key in ("VpcId", "AmiId", "ProbeTargets") or (key.startswith("Zone") and key[4:5] in ("A", "B", "C")):
        allowed = ", ".join((*PARAMETERS, *NAT_GATEWAYS))
        raise given.wrong(f"stack: {key}: {OWN}; allowed: {allowed}", key)
    if key not in PARAMETERS:
        raise given.wrong(f"unknown template parameter {key!r} in stack; {choices(key, PARAMETERS)}", key)
    if isinstance(value, (dict, bool)) or value is None:
        raise given.wrong(f"stack: {key}: {value!r} is neither a text nor a number", key)
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    if problem := complaint(key, text):
        raise given.wrong(f"stack: {key}: {problem}", key)
    return text
