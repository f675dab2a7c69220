"""Reads one event of any trigger: AWS's own, the schedule's, the operator's, a Lambda destination's.

Called through `natkeeper.triggers`. An event only says where to look: nothing here looks anything up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta

from natkeeper.core.bounds import LONGEST_PAUSE
from natkeeper.core.news import (
    Command,
    HealthNotice,
    InstanceChanged,
    News,
    ProbeFailed,
    RebalanceRecommended,
    RunMode,
    SpotInterruption,
    Tick,
    Verb,
)
from natkeeper.triggers.fields import Foreign, Malformed, list_of, object_of, plain, shown, text_of
from natkeeper.triggers.report import LONGEST_ERROR, parse_report

INSTANCE_STATES = frozenset({"pending", "running", "stopping", "stopped", "shutting-down", "terminated"})
"""https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html"""

LONGEST_PAUSE_MINUTES = LONGEST_PAUSE // timedelta(minutes=1)
_INSTANCE_ID = re.compile(r"i-[0-9a-f]{8}(?:[0-9a-f]{9})?")


def parse(
    event: object,
    *,
    account: str | None,
    region: str | None,
    probers: Mapping[str, str],
    request_id: str | None = None,
) -> News:
    """Reads one event. `account` and `region` are ours (None: not checked), `probers` the configured groups and the
    name of each one's prober, `request_id` the invocation's, by which a command that is delivered twice is known.

    Raises Foreign or Malformed, both ValueErrors, and nothing else.
    """
    if not isinstance(event, Mapping):
        raise Malformed(f"event: expected an object, got {shown(event)}; send one of the payloads in events/")
    if "natkeeper" in event:
        return _own(object_of(event, "natkeeper", "see events/operator-pause.json"), probers, request_id)
    if "requestPayload" in event and "requestContext" in event:
        return _destination(event, account, region, probers)
    if "detail-type" in event and "source" in event:
        return _event_bus(event, account, region)
    raise Foreign(f"event: of no kind that natkeeper knows (fields: {shown(sorted(map(str, event)))})")


# EventBridge ---------------------------------------------------------------------------------------------------------


def _event_bus(event: Mapping[str, object], account: str | None, region: str | None) -> News:
    source, kind = event.get("source"), event.get("detail-type")
    reader = _READERS.get((source, kind)) if isinstance(source, str) and isinstance(kind, str) else None
    if reader is None:
        raise Foreign(f"detail-type: {shown(kind)} from source {shown(source)} is not one natkeeper acts upon")
    _check_ours(event.get("account"), event.get("region"), account, region)
    return reader(object_of(event, "detail", "see events/ for AWS's shape"), region)


def _check_ours(their_account: object, their_region: object, account: str | None, region: str | None) -> None:
    if account is not None and their_account != account:
        raise Foreign(f"account: {shown(their_account)} is not ours, {account}")
    if region is not None and their_region != region:
        raise Foreign(f"region: {shown(their_region)} is not ours, {region}")


def _instance_id(detail: Mapping[str, object]) -> str:
    value = text_of(detail, "instance-id", "EC2 events name the instance in detail")
    if not _INSTANCE_ID.fullmatch(value):
        raise Malformed(f"instance-id: {shown(value)} is no instance; expected i- and 8 or 17 hexadecimal digits")
    return value


def _state_change(detail: Mapping[str, object], _region: str | None) -> News:
    state = text_of(detail, "state", "EC2 events name the new state in detail")
    if state not in INSTANCE_STATES:
        raise Malformed(f"state: {shown(state)} is unknown; expected one of {', '.join(sorted(INSTANCE_STATES))}")
    return InstanceChanged(_instance_id(detail), state)


def _spot_warning(detail: Mapping[str, object], _region: str | None) -> News:
    action = text_of(detail, "instance-action", "EC2 says hibernate, stop or terminate")
    return SpotInterruption(_instance_id(detail), action)


def _rebalance(detail: Mapping[str, object], _region: str | None) -> News:
    return RebalanceRecommended(_instance_id(detail))


def _health(detail: Mapping[str, object], region: str | None) -> News:
    """`region` of the envelope is where the notice was delivered, which may be AWS Health's backup region; what it is
    about is in `eventRegion` (AWS Health User Guide, "Amazon EventBridge schema")."""
    service = detail.get("service")
    if service != "EC2":
        raise Foreign(f"service: {shown(service)} is not EC2")
    about = detail.get("eventRegion", region)
    if region is not None and about != region:
        raise Foreign(f"eventRegion: {shown(about)} is not ours, {region}")
    code = text_of(detail, "eventTypeCode", "AWS Health names what happens")
    entities = list_of(detail, "affectedEntities", "AWS Health lists the resources, or an empty list")
    names = [entity.get("entityValue") for entity in entities if isinstance(entity, Mapping)]
    instances = {name: None for name in names if isinstance(name, str) and _INSTANCE_ID.fullmatch(name)}
    return HealthNotice(code, tuple(instances))


def _scheduled(_detail: Mapping[str, object], _region: str | None) -> News:
    return Tick()


_READERS: dict[tuple[str, str], Callable[[Mapping[str, object], str | None], News]] = {
    ("aws.ec2", "EC2 Instance State-change Notification"): _state_change,
    ("aws.ec2", "EC2 Spot Instance Interruption Warning"): _spot_warning,
    ("aws.ec2", "EC2 Instance Rebalance Recommendation"): _rebalance,
    ("aws.health", "AWS Health Event"): _health,
    ("aws.events", "Scheduled Event"): _scheduled,
}


# Ours: the schedule and the operator ---------------------------------------------------------------------------------


def _own(wish: Mapping[str, object], groups: Collection[str], request_id: str | None) -> News:
    if wish.get("tick") is True:
        return Tick()
    text = text_of(wish, "command", f"write one of {', '.join(verb.value for verb in Verb)}")
    try:
        verb = Verb(text)
    except ValueError:
        raise Malformed(f"command: {shown(text)}; write one of {', '.join(verb.value for verb in Verb)}") from None
    group = wish.get("group")
    if group is not None:
        group = _known(group, "group", groups, "leave it out for all groups")
    minutes, to = _minutes(verb, wish.get("minutes")), _to(verb, wish.get("to"), group, groups)
    return Command(verb, group, minutes, to, request_id)


def _known(name: object, field: str, groups: Collection[str], otherwise: str) -> str:
    if not isinstance(name, str) or name not in groups:
        raise Malformed(f"{field}: {shown(name)} is no group; write one of {', '.join(sorted(groups))}, or {otherwise}")
    return name


def _minutes(verb: Verb, minutes: object) -> int | None:
    """A pause without an end would be forgotten, so it must have one."""
    if verb is not Verb.PAUSE:
        if minutes is not None:
            raise Malformed(f"minutes: belongs to pause, not to {verb.value}; leave it out")
        return None
    if isinstance(minutes, bool) or not isinstance(minutes, int) or not 1 <= minutes <= LONGEST_PAUSE_MINUTES:
        raise Malformed(f"minutes: {shown(minutes)}; a pause needs a whole number from 1 to {LONGEST_PAUSE_MINUTES}")
    return minutes


def _to(verb: Verb, to: object, group: str | None, groups: Collection[str]) -> str | None:
    if verb is not Verb.SWITCHOVER:
        if to is not None:
            raise Malformed(f"to: belongs to switchover, not to {verb.value}; leave it out")
        return None
    if to == "home":
        return "home"
    target = _known(to, "to", groups, "home")
    if group is None or group == target:
        raise Malformed(f"to: {target!r} needs a group other than itself; write which group moves there, or to: home")
    return target


# The prober's result -------------------------------------------------------------------------------------------------


def _destination(
    event: Mapping[str, object], account: str | None, region: str | None, probers: Mapping[str, str]
) -> News:
    """An asynchronous invocation's record: what was asked (`requestPayload`), what came of it (`responsePayload`).
    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html"""
    context = object_of(event, "requestContext", "Lambda destinations carry it")
    function = text_of(context, "functionArn", "Lambda destinations carry it")
    asked = object_of(event, "requestPayload", "it must be a prober's request, which has group and run_id")
    group = text_of(asked, "group", "it must be a prober's request")
    if group not in probers:
        raise Foreign(f"group: {shown(group)} is not configured; it may have been removed")
    _check_prober(function, probers[group], account, region)
    run_id = text_of(asked, "run_id", "it must be a prober's request")
    condition = text_of(context, "condition", "Lambda says Success, RetriesExhausted or EventAgeExceeded")
    outcome = event.get("responseContext")
    error = outcome.get("functionError") if isinstance(outcome, Mapping) else None
    if condition != "Success" or error is not None:
        return ProbeFailed(group, run_id, _why(condition, error, event.get("responsePayload")))
    report = parse_report(object_of(event, "responsePayload", "the prober returns its report"))
    if (report.group, report.run_id) != (group, run_id):
        raise Malformed(f"responsePayload: a report of run {shown(report.run_id)} answers run {shown(run_id)}; drop it")
    if report.mode is RunMode.VERIFY:
        raise Foreign("mode: a verification is waited for by whoever asked; its report never comes by a destination")
    return report


def _check_prober(arn: str, prober: str, account: str | None, region: str | None) -> None:
    """A report moves traffic, so it counts only from the group's own prober, whatever version or alias of it ran."""
    parts = arn.split(":")
    if len(parts) < 7 or parts[2] != "lambda" or parts[5] != "function":
        raise Malformed(f"functionArn: {shown(arn)} is no function's; Lambda destinations carry it")
    _check_ours(parts[4], parts[3], account, region)
    if parts[6] != prober:
        raise Foreign(f"functionArn: {shown(parts[6])} is not the group's prober, {prober}")


def _why(condition: str, error: object, payload: object) -> str:
    """A run that was never started (EventAgeExceeded) has no payload."""
    message = payload.get("errorMessage") if isinstance(payload, Mapping) else None
    parts = [condition, *(part for part in (error, message) if isinstance(part, str) and part)]
    return plain(": ".join(parts)[:LONGEST_ERROR])
