"""The words of scenario files: every verb, expectation and template parameter, with what each may be given.

Read by `scenario.file`; a test holds it against SCENARIOS.md's lists. Data only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

REMAPS = ("late", "dark")
OTHER_TABLES = ("other", "main", "none")
"""Where a prober's subnet may be put: on somebody else's table, on the VPC's main table by name, on none by name."""
INSTANCE = ("active", "standby", "nat")
GROUPED = (*INSTANCE, "table", "zone", "prober")
TARGET_KINDS = (*GROUPED, "probe_target", "probe_targets", "controller", "ledger")
TARGET_FORMS = (
    "active@a, standby@a, nat@a, table@a, table@a[1], zone@a, prober@a, "
    "probe_target[0], probe_targets, controller, ledger"
)


@dataclass(frozen=True)
class Arg:
    """One key of a step or an expectation. `kind` says what its value must be (see `scenario.values`)."""

    kind: str
    is_needed: bool = True
    default: object = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verb:
    """What a step may be done to, and what else it is given."""

    targets: tuple[str, ...] = ()
    needs_target: bool = False
    args: Mapping[str, Arg] = field(default_factory=dict)
    one_of: tuple[str, ...] = ()
    """Exactly one of these must be given."""


def _to(*targets: str, **args: Arg) -> Verb:
    return Verb(targets, True, args)


def _of(*targets: str, **args: Arg) -> Verb:
    return Verb(targets, False, args)


SECONDS, COUNT, OPERATION = Arg("seconds"), Arg("count", False, 1), Arg("operation")
ONCE, ALWAYS = Arg("count", False, 1), Arg("count", False, None)
GROUP = Arg("group", False)
TIME: Mapping[str, Arg] = {"seconds": SECONDS}

STEPS: Mapping[str, Verb] = {
    "stop_instance": _to(*INSTANCE),
    "start_instance": _to(*INSTANCE),
    "terminate_instance": _to(*INSTANCE),
    "hang": _to(*INSTANCE),
    "drop_forwarding": _to(*INSTANCE),
    "flush_nat": _to(*INSTANCE),
    "packet_loss": _to(*INSTANCE, percent=Arg("percent")),
    "enable_source_dest_check": _to(*INSTANCE),
    "break_user_data": _of(*INSTANCE, "zone", without=Arg("choice", False, "script", ("script", "rules"))),
    "zone_down": _to("zone"),
    "zone_up": _to("zone"),
    "block_probe_target": _to("probe_target"),
    "block_probe_targets": _of("probe_targets"),
    "unblock": _of("probe_target", "probe_targets"),
    "replace_route": _to("table", to=Arg("route")),
    "delete_route": _to("table"),
    "add_table": _of("zone", "table"),
    "lose_events": _of(count=COUNT),
    "delay_events": _of(by=SECONDS, count=COUNT),
    "duplicate_events": _of(count=COUNT),
    "shuffle_events": _of(count=Arg("count", False, 2)),
    "send_event": _of("controller", file=Arg("file", False), event=Arg("object", False)),
    "spot_warning": _to(*INSTANCE),
    "rebalance_recommendation": _to(*INSTANCE),
    "health_event": _to(
        *INSTANCE,
        code=Arg("text", False, "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED"),
        foreign=Arg("count", False),
    ),
    "foreign_events": _of(count=Arg("count"), per_second=Arg("rate")),
    "api_error": _of(operation=OPERATION, code=Arg("text"), times=ONCE),
    "api_throttle": _of(operation=OPERATION, times=ONCE),
    "api_slow": _of(operation=OPERATION, seconds=SECONDS, times=ALWAYS),
    "api_lost_reply": _of(operation=OPERATION, times=ONCE),
    "api_stale": _of(operation=OPERATION, seconds=SECONDS),
    "no_capacity": _of(instance_types=Arg("texts", False), zones=Arg("groups", False), times=ALWAYS),
    "api_down": _of(seconds=SECONDS),
    "crash_controller": _of("controller", after_calls=Arg("natural", False, 0)),
    "ledger_down": _of("ledger", seconds=SECONDS),
    "clock_skew": _of("controller", "prober", seconds=Arg("number")),
    "stop_schedule": _of(seconds=SECONDS),
    "second_controller": _of("controller"),
    "pause": _of("controller", group=GROUP, minutes=Arg("count", False, 60)),
    "resume": _of("controller", group=GROUP),
    "switchover": _of("controller", group=Arg("group"), to=Arg("carrier")),
    "failover": _of("controller", group=Arg("group")),
    "new_generation": _of("controller"),
    "remove_tag": _to(*INSTANCE),
    "address_remap": _of(**TIME, model=Arg("choice", False, "late", REMAPS)),
    "public_address": Verb(
        args={"seconds": Arg("seconds", False), "never": Arg("flag", False)}, one_of=("seconds", "never")
    ),
    "boot": _of(**TIME),
    "start": _of(**TIME),
    "api_time": _of(operation=OPERATION, **TIME),
    "destination_delay": _of(**TIME),
    "cpu_share": _to("controller", "prober", percent=Arg("processor")),
    "reboot": _to(*INSTANCE, original=Arg("flag", False, False)),
    "disassociate_address": _of(group=Arg("group")),
    "release_address": _of(group=Arg("group")),
    "associate_subnet": _of(group=Arg("group"), table=Arg("choice", choices=OTHER_TABLES)),
    "block_public_access": _of(),
    "unblock_public_access": _of(),
    "forged_report": _of(
        group=Arg("group"), says=Arg("choice", choices=("down", "up")), ahead=Arg("seconds", False, 0.0)
    ),
    "tag_foreign_instance": _of(
        role=Arg("choice", choices=("nat", "standby")), vpc=Arg("choice", choices=("same", "other")), group=GROUP
    ),
    "poison_ledger": _of("ledger", group=Arg("group"), field=Arg("ledger-field"), value=Arg("poison")),
    "fill_conntrack": _to(*INSTANCE, percent=Arg("percent")),
    "limit_bandwidth": _to(*INSTANCE, megabits=Arg("megabits")),
}

INSTANCE_STATES = ("pending", "running", "stopping", "stopped", "terminated", "kept")
ROUTES = ("home", "away", "gateway", "unchanged", "none")


@dataclass(frozen=True)
class Expect:
    """What an expectation is about (`subject`, the value of its own key) and what else it is given.

    `folds`: the argument that the value of its own key may stand for, so that `{log: fail-over}`,
    `{log: {reason_code: fail-over}}` and `{log: a, reason_code: fail-over}` are all the same kind of sentence.
    `needs_one_of`: at least one of these must be there.
    """

    subject: str
    args: Mapping[str, Arg] = field(default_factory=dict)
    folds: str | None = None
    needs_one_of: tuple[str, ...] = ()
    is_moment: bool = False
    """About how things are at a moment, and not about what became of the whole run."""


_NUMBER = Arg("number", False)

EXPECTATIONS: Mapping[str, Expect] = {
    "restored": Expect("group", is_moment=True),
    "never_down": Expect("group"),
    "downtime": Expect("group", {"at_most": Arg("number")}),
    "egress_address": Expect("group", {"is": Arg("choice", choices=("same", "changed"))}, is_moment=True),
    "flows": Expect("group", {"surviving_at_least": Arg("share")}),
    "route": Expect("group", {"is": Arg("choice", choices=ROUTES)}, is_moment=True),
    "incidents": Expect(
        "group",
        {"count": Arg("natural", False), "contain_truth": Arg("flag", False)},
        needs_one_of=("count", "contain_truth"),
    ),
    "writes": Expect("any-group", {"operation": Arg("operation", False), "at_most": Arg("natural")}, "operation"),
    "instances": Expect("group", {"at_most": Arg("natural")}),
    "metric": Expect(
        "any-group",
        {"name": Arg("metric"), "at_least": _NUMBER, "at_most": _NUMBER},
        "name",
        needs_one_of=("at_least", "at_most"),
    ),
    "alarm": Expect(
        "none",
        {"name": Arg("alarm"), "is": Arg("choice", choices=("ok", "alarm", "insufficient_data"))},
        "name",
        is_moment=True,
    ),
    "invariants": Expect("switch"),
    "instance": Expect(
        "none",
        {"target": Arg("instance"), "is": Arg("choice", choices=INSTANCE_STATES)},
        "target",
        is_moment=True,
    ),
    "log": Expect("any-group", {"reason_code": Arg("reason")}, "reason_code"),
    "dark": Expect("group", {"at_most": Arg("number")}),
    "failovers": Expect("group", {"at_most": Arg("natural")}),
    "moves": Expect("group", {"at_most": Arg("natural")}),
    "egress_addresses": Expect("group", {"at_most": Arg("natural")}),
    "message": Expect("any-group", {"contains": Arg("text")}),
    "messages": Expect("any-group", {"at_most": Arg("natural")}),
    "calls": Expect("none", {"operation": Arg("operation"), "at_most": Arg("natural")}, "operation"),
}
CLOCKS = ("within", "eventually", "after")

METRICS = (
    *("EgressUp", "Home", "StandbyReady", "Observed", "Unknown", "Failovers", "FailoversFailed", "LastResort"),
    *("Launches", "Errors", "AddressRemap", "DowntimeLow", "DowntimeHigh", "Passes"),
    *("NotHealing", "Paused", "ChecksMended"),
)
ALARMS = (
    *("egress-down-a", "egress-down-b", "egress-down-c"),
    *("blind-a", "blind-b", "blind-c"),
    *("not-healing-a", "not-healing-b", "not-healing-c"),
    *("controller-silent", "failover-failed", "standby-not-ready", "paused-too-long", "throttled", "dead-letters"),
)

PARAMETERS: Mapping[str, str] = {
    "InstanceTypes": "NATKEEPER_INSTANCE_TYPES",
    "EgressProfile": "NATKEEPER_EGRESS_PROFILE",
    "StandbyMode": "NATKEEPER_STANDBY",
    "CanaryAddress": "NATKEEPER_CANARY_ADDRESS",
    "ProvingAddress": "",
    "ProbeInterval": "NATKEEPER_PROBE_INTERVAL",
    "ProbeTimeout": "NATKEEPER_PROBE_TIMEOUT",
    "ProbeRoundsToFail": "NATKEEPER_PROBE_ROUNDS_TO_FAIL",
    "ProbeRunSeconds": "NATKEEPER_PROBE_RUN",
    "QuietPeriod": "NATKEEPER_QUIET_PERIOD",
    "MaxFailoversPerHour": "NATKEEPER_MAX_FAILOVERS_PER_HOUR",
    "MaxLaunchesPerDay": "NATKEEPER_MAX_LAUNCHES_PER_DAY",
    "AlarmEmail": "",
    "LogRetentionDays": "",
    "BastionCidr": "",
}
"""Template parameter to the controller's environment; empty where it changes nothing that the lab shows."""
OWN = "the lab makes this itself"
NAT_GATEWAYS: Mapping[str, str] = {f"Zone{zone.upper()}NatGatewayId": zone for zone in "abc"}
"""Parameters of the network that a file may speak of all the same, as `lab`: the lab makes one in that zone."""
MADE_BY_THE_LAB = "lab"
