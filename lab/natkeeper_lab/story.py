"""The story, step by step: a NAT by hand, its death without and with natkeeper, the way home, a hang, a termination.

Called by `demo`. Each step acts on a `Stack`, measures with `Rulers`, and answers with a `Result`: passed or not,
and its figures. Runs inside `sandbox` only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from natkeeper_lab.figures import (
    NotSo,
    Result,
    is_move,
    kept_enough,
    nothing_lost,
    parsed,
    planned,
    same_address,
    survived,
    with_calls,
    with_incident,
)
from natkeeper_lab.narrator import Narrator
from natkeeper_lab.network import WEB
from natkeeper_lab.rulers import Rulers
from natkeeper_lab.stack import Stack

PAGE = f"http://{WEB}/"
TIMED_OUT = 28
"""curl's exit code for a time-out."""
READS = ("Describe", "Get")
FLOWS = 50
IN_VAIN = 2
"""Seconds for a page that must not come."""
PATIENCE = 150
"""Seconds for what must come: it takes under ten, and two ticks more where this machine stood still at a bad moment.
How long it took is measured by the rulers."""


@dataclass
class Story:
    """What the steps share."""

    stack: Stack
    narrator: Narrator
    stopping_at: float = 0.0

    def play(self, name: str, title: str, step: Callable[[Story, Result], Result]) -> Result:
        """One step; what it raises as NotSo (or a time-out) makes it fail and is said."""
        self.narrator.tell("demo", f"--- {title}")
        blank = Result(name, title)
        try:
            result = replace(step(self, blank), passed=True)
        except (NotSo, TimeoutError) as problem:
            result = replace(blank, notes=(str(problem),))
        self.narrator.tell("demo", f"{'PASS' if result.passed else 'FAIL'} {name}")
        for note in result.notes:
            self.narrator.tell("", note)
        return result

    # -- what steps need again and again

    def fetch(self, group: str = "a", seconds: float = 10) -> str | None:
        """The address the web page saw, or None when curl timed out. It comes within milliseconds, unless this machine
        stands still."""
        code, text = self.stack.curl(group, PAGE, seconds)
        if code == 0:
            return text.split("came from ")[1].split()[0]
        if code == TIMED_OUT:
            return None
        raise NotSo(f"curl ended with {code}: {text}; expected a page or a time-out")

    def until(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Waits for a condition; TimeoutError names it."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"expected within {seconds:g} s: {what}")
            time.sleep(0.05)

    def decisions(self) -> list[dict[str, Any]]:
        """The controller's decisions so far, from its log."""
        lines = (parsed(line.text) for line in self.stack.hosts["controller"].logs())
        return [line for line in lines if line is not None and "reason_code" in line]

    def settled(self, since: int = 0) -> bool:
        """Every group's last decision is to rest, with somebody verified to take over."""
        last: dict[str, dict[str, Any]] = {}
        for line in self.decisions()[since:]:
            last[line["group"]] = line
        rested = [each["reason_code"] == "at-rest" and each["is_backed"] for each in last.values()]
        return len(rested) == len(self.stack.groups) and all(rested)

    def wait_until_settled(self, seconds: float = PATIENCE) -> None:
        """Home, at rest, and backed by a verified neighbour."""
        since = len(self.decisions())
        self.until("every group at rest with a verified neighbour", lambda: self.settled(since), seconds)

    def wait_until_away(self, since: int) -> None:
        """Zone a's traffic has been moved to zone b's NAT. Asks the log and not the API, whose calls are counted."""

        def has_moved() -> bool:
            return any(each["group"] == "a" and each["carried_by"] == "b" for each in self.decisions()[since:])

        self.until("a decision to move zone a's traffic to zone b's NAT", has_moved, PATIENCE)
        self.until("zone a's traffic on zone b's NAT", lambda: self.stack.carrier_of("a") == "b", PATIENCE)

    def wait_for_home(self) -> None:
        """Zone a's routes are on zone a's NAT, and its Elastic IP with them."""
        deployed = self.stack.groups["a"]

        def is_home() -> bool:
            address = self.stack.ec2.describe_addresses(AllocationIds=[deployed.allocation])["Addresses"][0]
            return self.stack.carrier_of("a") == "a" and {address.get("NetworkInterfaceId")} == self.stack.route_of("a")

        self.until("zone a's traffic at home", is_home, PATIENCE)

    def wait_for_incident(self, known: int) -> dict[str, Any]:
        """The incident after the `known` first ones, once it is closed."""

        def found() -> list[dict[str, Any]]:
            return [each for each in self.incidents() if "closed_at" in each][known:]

        self.until("a closed incident in the ledger", lambda: bool(found()), PATIENCE)
        return found()[0]

    def incidents(self) -> list[dict[str, Any]]:
        """Zone a's incidents in which something failed (not the pauses of moves on purpose)."""
        return [each for each in self.stack.incidents("a") if each["cause"] not in ("planned-move", "transient")]


# -- the steps


def egress_works(story: Story, result: Result) -> Result:
    """Step 1: from the database server, a page on the internet; it sees zone a's Elastic IP."""
    seen, expected = story.fetch(), story.stack.groups["a"].address
    if seen != expected:
        raise NotSo(f"expected the page to see {expected}, it saw {seen}")
    return replace(result, egress_address_before=seen, egress_address_after=seen)


def source_dest_check(story: Story, result: Result) -> Result:
    """Step 2: with the check left on the page times out, with it off it comes."""
    nat = story.stack.groups["a"].nat
    story.stack.set_source_dest_check(nat, True)
    if (seen := story.fetch(seconds=IN_VAIN)) is not None:
        raise NotSo(f"expected a time-out with source/dest check on, but the page came and saw {seen}")
    story.stack.set_source_dest_check(nat, False)
    if (seen := story.fetch()) is None:
        raise NotSo("expected the page with source/dest check off, but curl timed out")
    return replace(result, egress_address_after=seen)


def stop_alone(story: Story, result: Result) -> Result:
    """Step 3, first half: without natkeeper nothing brings the page back but a person."""
    nat = story.stack.groups["a"].nat
    story.stack.ec2.stop_instances(InstanceIds=[nat])
    for _ in range(3):
        if (seen := story.fetch(seconds=IN_VAIN)) is not None:
            raise NotSo(f"expected time-outs while the NAT is stopped, but the page came and saw {seen}")
    story.stack.wait_for(nat, "stopped")
    story.stack.ec2.start_instances(InstanceIds=[nat])
    story.stack.wait_for(nat, "running")
    if story.fetch() is None:
        raise NotSo("expected the page after starting the NAT by hand, but curl timed out")
    return replace(result, notes=("three tries in a row timed out; it took a person to start the NAT again",))


def stop(story: Story, result: Result) -> Result:
    """Step 3: the NAT is stopped, and zone b's carries on from the same address while a download runs."""
    stack = story.stack
    story.wait_until_settled()
    known, before = len(story.incidents()), story.fetch()
    rulers = Rulers(stack, "a", client=FLOWS, download=True)
    nat = stack.groups["a"].nat
    decided = len(story.decisions())
    stack.api.on_event(lambda event: _note_stopping(story, event, nat))
    stack.ec2.stop_instances(InstanceIds=[nat])
    story.wait_until_away(decided)
    after = story.fetch()
    incident = story.wait_for_incident(known)
    time.sleep(4)  # the download goes on after a keepalive (1 s) and the server's next repeat, up to 3.3 s later
    measured = rulers.stop()
    result = with_incident(
        replace(result, egress_address_before=before, egress_address_after=after), incident, measured
    )
    result = replace(with_calls(stack, story.stopping_at, result), flows_survived=survived(measured.client))
    same_address(result)
    kept_enough(measured.client, "client-driven connections")
    download = measured.download
    if download is None or not download.survived or not download.is_contiguous:
        raise NotSo(f"expected the running download to go on without a hole, saw {download}")
    note = f"the running download went on after a gap of {download.longest_gap_ms:.0f} ms (client keepalive of 1 s)"
    return replace(result, notes=(*result.notes, note))


def come_home(story: Story, result: Result) -> Result:
    """Step 4: the NAT is started, prepared, proven, and the traffic comes home without losing a connection."""
    before = story.fetch()
    rulers = Rulers(story.stack, "a", client=20, server=20)
    story.wait_for_home()
    time.sleep(2)
    measured = rulers.stop()
    result = replace(result, egress_address_before=before, egress_address_after=story.fetch())
    result = planned(result, measured)
    same_address(result)
    nothing_lost(measured)
    _proven_before_home(story)
    return result


def black_hole(story: Story, result: Result) -> Result:
    """The NAT runs and forwards nothing: only packets can tell."""
    stack = story.stack
    story.wait_until_settled()
    known, before, calls = len(story.incidents()), story.fetch(), len(stack.api.calls())
    rulers, decided = Rulers(stack, "a", client=FLOWS), len(story.decisions())
    stack.network.hang(stack.groups["a"].nat)
    story.wait_until_away(decided)
    after = story.fetch()
    stack.network.unhang(stack.groups["a"].nat)
    incident = story.wait_for_incident(known)
    time.sleep(5)  # TCP's back-off after four seconds of silence: its next try comes up to 6.4 s after the first loss
    measured = rulers.stop()
    result = with_incident(
        replace(result, egress_address_before=before, egress_address_after=after), incident, measured
    )
    same_address(result)
    if measured.first_lost_at is None:
        raise NotSo("expected lost connections while the NAT hung, the 5 ms probe saw none")
    moved = [each for each in stack.api.calls()[calls:] if is_move(stack, each)]
    took = moved[0].ended_at - measured.first_lost_at
    note = f"route moved {took:.2f} s after the first lost packet (promised: 5 s)"
    if took > 5:
        raise NotSo(note)
    extra = {"route_moved_after_first_loss_s": round(took, 3)}
    return replace(result, flows_survived=survived(measured.client), notes=(*result.notes, note), extra=extra)


def terminate(story: Story, result: Result) -> Result:
    """The NAT is terminated: another is launched, prepared, proven, and takes the traffic home."""
    stack = story.stack
    story.wait_for_home()
    story.wait_until_settled()
    known, before = len(story.incidents()), story.fetch()
    rulers, decided = Rulers(stack, "a", client=FLOWS), len(story.decisions())
    stack.ec2.terminate_instances(InstanceIds=[stack.groups["a"].nat])
    story.wait_until_away(decided)
    incident = story.wait_for_incident(known)
    time.sleep(1)  # silent for a second is lost: any sooner, a lost connection would count as kept
    measured = rulers.stop()
    story.wait_for_home()
    result = replace(result, egress_address_before=before, egress_address_after=story.fetch())
    result = replace(with_incident(result, incident, measured), flows_survived=survived(measured.client))
    same_address(result)
    launched = [each for each in stack.api.calls() if each.operation == "RunInstances" and "ClientToken" in each.params]
    tokens = {str(each.params["ClientToken"]) for each in launched if "/a-" in str(each.params["ClientToken"])}
    if len(tokens) != 1:
        raise NotSo(f"expected one replacement, saw launches with {sorted(tokens)}")
    return replace(result, notes=(*result.notes, "a replacement was launched and carries the traffic"))


def at_rest(story: Story, result: Result) -> Result:
    """A second pass at rest writes nothing."""
    story.wait_until_settled()
    story.stack.wake({"natkeeper": {"tick": True}})
    since = time.monotonic()
    story.stack.wake({"natkeeper": {"tick": True}})
    calls = [each for each in story.stack.api.calls() if each.started_at >= since]
    writes = [each.operation for each in calls if each.service == "ec2" and not each.operation.startswith(READS)]
    if writes:
        raise NotSo(f"expected no write from a pass at rest, saw {writes}")
    return replace(result, notes=(f"a pass at rest made {len(calls)} calls, none of them a write to EC2",))


def books(story: Story, result: Result) -> Result:
    """Step 5: every incident is in the ledger, in the metrics and in a message, with downtime as an interval."""
    incidents = story.incidents()
    for each in incidents:
        if "closed_at" not in each or "downtime_high_ms" not in each:
            raise NotSo(f"expected a closed incident with an interval, saw {each}")
    metrics = [
        line for each in story.stack.hosts["controller"].logs() if (line := parsed(each.text)) and "_aws" in line
    ]
    highs = [line for line in metrics if "DowntimeHigh" in line and line.get("group") == "a"]
    # The NAT that is lost again and again is told of too, for it had only just come home.
    messages = [text for each in story.stack.api.published() if "egress was down" in (text := each["Message"])]
    if len(highs) < len(incidents) or len(messages) != len(incidents):
        raise NotSo(f"{len(incidents)} incidents, but {len(highs)} downtime metrics and {len(messages)} messages")
    notes = tuple(f'message: "{each}"' for each in messages)
    return replace(result, notes=notes, extra={"incidents": len(incidents)})


def strict_groups(story: Story, result: Result) -> Result:
    """A planned move where security groups refuse packets of connections that they did not see begin."""
    stack = story.stack
    story.wait_until_settled()
    before = story.fetch()
    rulers, decided = Rulers(stack, "a", client=20, server=20), len(story.decisions())
    stack.wake({"natkeeper": {"command": "switchover", "group": "a", "to": "b"}})
    story.wait_until_away(decided)
    time.sleep(3)
    measured = rulers.stop()
    result = planned(replace(result, egress_address_before=before, egress_address_after=story.fetch()), measured)
    same_address(result)
    if measured.new_lost:
        raise NotSo(f"{measured.new_lost} of {measured.new_connections} new connections failed for good")
    lost = [
        f"{kept.opened - kept.survived} of {kept.opened} {who}-driven connections were lost"
        for who, kept in (("client", measured.client), ("server", measured.server))
        if kept is not None
    ]
    text = "with such security groups " + ", ".join(lost) + "; new connections work"
    return replace(result, notes=(*result.notes, text))


def _note_stopping(story: Story, event: Mapping[str, Any], instance_id: str) -> None:
    detail = event.get("detail", {})
    if detail.get("instance-id") == instance_id and detail.get("state") == "stopping":
        story.stopping_at = time.monotonic()


def _proven_before_home(story: Story) -> None:
    """The order that matters: check off and canary packets before the route, the public address gone before it too."""
    lines = [each for each in story.decisions() if each["group"] == "a"]
    said = [each["reason_code"] + " " + each["message"] for each in lines]
    home = max(at for at, each in enumerate(said) if each.startswith("go-home"))
    for needed in ("with canary packets", "making the landing address"):
        if not any(needed in each for each in said[:home]):
            raise NotSo(f"expected '{needed}' before the traffic came home, decisions were {said[:home]}")
