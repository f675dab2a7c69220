"""What a group remembers between passes, and the life of an incident. Kept by the ledger, changed only by pure code.

Every field has a default, so a memory written by an older version is read by a newer one. May not import anything but
the standard library's data types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from natkeeper.core.downtime import Disturbance, Downtime, measure
from natkeeper.core.news import Round

RECENT_ROUNDS = 4
"""Rounds kept at rest, so that an incident knows the last success before it."""
KEPT_RUNS = 8
"""Run ids kept to recognise a report that is delivered twice."""
KEPT_INSTANCES = 8
"""Ids of a group's own instances that are kept: a NAT, a standby, what replaces them, and what these replaced."""
KEPT_EXCLUSIONS = 8
"""Candidates that failed within the hour: three groups have six NATs, and one or two that these replaced."""
KEPT_COMMANDS = 8
"""Request ids kept to recognise a command that is delivered twice: more than a person gives within minutes."""


MOVING_ADDRESS = "moving an Elastic IP"
"""The kind of back-off (`BackOff`) of AssociateAddress."""


class Cause(Enum):
    """Why an incident opened."""

    INSTANCE_STOPPED = "instance-stopped"
    INSTANCE_GONE = "instance-gone"
    ROUTE_MISSING = "route-missing"
    ROUTE_BLACKHOLE = "route-blackhole"
    PROBES_FAILED = "probes-failed"
    OVERLOADED = "overloaded"
    """Loss that followed the group's traffic from NAT to NAT."""
    ADDRESS_GONE = "address-gone"
    """Somebody released the group's Elastic IP."""
    ADDRESS_REFUSED = "address-refused"
    """EC2 refuses to move it to where the traffic is."""
    TRANSIENT = "transient"
    """Failed rounds that ended without a move of ours."""
    PLANNED_MOVE = "planned-move"
    """Failed rounds while traffic was moved on purpose: between the two calls of a move new packets are lost."""
    EXTERNAL = "external"
    """The targets were out of reach from outside the VPC too: not an outage of ours."""
    SOURCE_DEST_CHECK = "source-dest-check"
    """Somebody turned the source/dest check of the NAT in use on again, and natkeeper turned it off."""


@dataclass(frozen=True)
class Proof:
    """Real packets went through `target` at `at`. `since` is when the unbroken row of successes began."""

    target: str
    at: datetime
    since: datetime


@dataclass(frozen=True)
class Canary:
    """Where the canary route points, and since when."""

    target: str
    pointed_at: datetime
    addressed_at: datetime | None = None
    """Since when a look has shown a public address for it to leave from, where the NAT is being proven."""
    asked_at: datetime | None = None
    """When AWS was last asked for such an address."""
    failed_since: datetime | None = None
    """Since when its packets have been lost, as far as anybody looked; None when the last ones came back."""


@dataclass(frozen=True)
class AddressMove:
    """The group's Elastic IP was asked to move to `target`. AWS answers before packets follow (`core.arrival`)."""

    target: str
    asked_at: datetime
    answered_at: datetime | None = None
    has_canary_of_its_own: bool = False
    """The canary leaves from another public address of the same NAT, so it tells whether the NAT forwards."""
    through_at: datetime | None = None
    """When the first packet of the present row got through."""
    is_found: bool = False
    """A look found it there, so what AWS took is not known."""


@dataclass(frozen=True)
class WatchRun:
    """The prober run that is in flight."""

    run_id: str
    started_at: datetime
    lasts: timedelta


@dataclass(frozen=True)
class Repair:
    """One attempt to get the group's own NAT (or standby) running. `attempt` counts from 1 within `repair_id`."""

    repair_id: str
    attempt: int
    started_at: datetime
    is_launched: bool = False
    """A launch was asked for under this attempt's token, so that asking again is no new one."""
    is_accepted: bool = False
    """AWS answered the launch with an instance, which may not be visible yet."""
    is_repeated: bool = False
    """The launch was asked for again under the same token, because nobody heard the first answer."""
    refused_at: datetime | None = None
    """AWS answered then that it launched nothing."""
    refusals: int = 0
    """So many attempts in a row were answered like that."""
    instance_type: str = ""
    """What was asked for: a token is of one type. Empty: by an older version, the first of the user's."""
    is_turned_away: bool = False
    """EC2 throttled the last request for it, which is as if it had not been made."""
    is_quota: bool = False
    """It was refused because a quota of the account on instances or their processors is used up."""
    is_short: bool = False
    """It was refused for want of capacity, of which there may be some for another type."""
    is_told: bool = False
    """A person was told that the zone has none of the types."""
    refusal: str = ""
    """The last refusal's operation and code, in EC2's words; empty once EC2 accepts."""

    @property
    def may_appear(self) -> bool:
        """Its launch may be on its way: accepted, not answered, or refused only after a call that was not answered."""
        is_refused = self.refused_at is not None and not self.is_repeated
        return self.is_accepted or (self.is_launched and not is_refused)


@dataclass(frozen=True)
class Unsupported:
    """EC2 answered at `at` that the group's zone does not have the type."""

    instance_type: str
    at: datetime


@dataclass(frozen=True)
class BackOff:
    """EC2 refused actions of this kind, so many times in a row, the last time at `refused_at`."""

    kind: str
    refused_at: datetime
    refusals: int
    refusal: str = ""
    """The operation and code, in EC2's words."""


@dataclass(frozen=True)
class Told:
    """A warning that a person was given at `at`, by what it is about."""

    key: str
    at: datetime


@dataclass(frozen=True)
class Doom:
    """AWS's API confirmed that it will stop the instance at `at`."""

    instance_id: str
    at: datetime


@dataclass(frozen=True)
class Exclusion:
    """A path on which the group's packets were lost at `since` (None in a memory of before there was one).

    It is left alone until `until` where they never got through; one that had carried them is remembered only, for
    `until` has passed. `is_guess`: no packet had been there, it was the last resort.
    """

    target: str
    until: datetime
    since: datetime | None = None
    is_guess: bool = False

    @property
    def had_carried(self) -> bool:
        """Some of the group's packets got through there before."""
        return self.until == self.since


@dataclass(frozen=True)
class Fall:
    """The group's own NAT failed at `at`, soon after traffic had come home to it."""

    target: str
    at: datetime


@dataclass(frozen=True)
class Incident:
    """From the first evidence of failure to verified recovery."""

    incident_id: str
    group: str
    cause: Cause
    opened_at: datetime
    from_target: str | None
    rounds: tuple[Round, ...] = ()
    to_target: str | None = None
    address_before: str | None = None
    address_after: str | None = None
    is_last_resort: bool = False
    recovered_at: datetime | None = None
    address_took: timedelta | None = None
    """From the address call's answer to the first packet through; as exact as the probes' interval."""
    is_told: bool = False
    """A person was told that it lasts; they are told of its end as well, whatever its cause is by then."""
    disturbances: tuple[Disturbance, ...] = ()
    """When the path was found dead or changed, oldest first (`core.evidence`)."""

    def downtime(self, clock_error: timedelta) -> Downtime:
        """The interval that contains the true downtime, from what is known now."""
        return measure(self.rounds, clock_error, self.disturbances)

    @property
    def has_address_changed(self) -> bool | None:
        """Whether the far end saw another public address afterwards; None while one of the two is not known."""
        if self.address_before is None or self.address_after is None:
            return None
        return self.address_before != self.address_after


YIELDING = timedelta(seconds=270)
"""How long after a throttled call what is not urgent waits. When a zone is lost for many stacks of one account, each
look for healing and each canary takes the place of somebody's failover. EC2's buckets take 190 s for 500 stacks of two
tables; with 180 s here, canaries took a fifth of ReplaceRoute's tokens and the last group waited 260 s. Less than the
default quiet period (300 s), before which nobody goes home anyway."""


@dataclass(frozen=True)
class Memory:
    """A group's memory between passes."""

    target: str | None = None
    """The interface or gateway the traffic belongs on: the recorded intent."""
    instances: tuple[str, ...] | None = None
    """The group's own instances, by which an event about somebody else's is known. None: nobody has looked yet."""
    moved_at: datetime | None = None
    has_carried: bool = False
    """The group's packets have been through `target` since they were moved there."""
    address_move: AddressMove | None = None
    """The Elastic IP's last move, until packets have shown that it came."""
    address_took: timedelta | None = None
    """What the last move whose end was seen took; told once, when it changes."""
    is_stray: bool = False
    """As far as anybody looked, the prober's table leads elsewhere (somebody edited its route, or a call of natkeeper's
    failed): what gets through proves nothing of `target`."""
    led_since: datetime | None = None
    """Since when it leads to `target` again, after it had not."""
    through_at: datetime | None = None
    """When the newest round was sent of which anything got through since the traffic came there: a NAT that loses some
    packets is no dead one (`core.overload`)."""
    is_down: bool = False
    """The prober's last word on the current path was k failed rounds in a row."""
    down_at: datetime | None = None
    """When that word was last heard."""
    failing_since: datetime | None = None
    """When the first round of that row was sent."""
    external_at: datetime | None = None
    """The control probe failed then as well: until a round succeeds, failed ones may be the targets' fault."""
    targets_back_at: datetime | None = None
    """The control probe succeeded again then: failed rounds sent later are the path's."""
    recent: tuple[Round, ...] = ()
    seen_runs: tuple[str, ...] = ()
    proofs: tuple[Proof, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    dooms: tuple[Doom, ...] = ()
    egress_address: str | None = None
    watch: WatchRun | None = None
    watch_starts: tuple[datetime, ...] = ()
    canary: Canary | None = None
    withdrawn_at: datetime | None = None
    """When the public address of the home candidate was taken away on purpose, before it comes home."""
    repair: Repair | None = None
    standby_repair: Repair | None = None
    standby_replaced_at: datetime | None = None
    """When a standby was replaced because it forwarded nothing; None again as soon as one is proven."""
    rest: bool | None = None
    """None unless the last look found nothing to do; then whether somebody verified could take over."""
    is_unfinished: bool = False
    """A call of the last move failed: some table, which the prober may not see, is still on the dead path."""
    throttled_at: datetime | None = None
    """When EC2 last refused a call for this group in its trouble because the account's request rate was used up."""
    failovers: tuple[datetime, ...] = ()
    launches: tuple[datetime, ...] = ()
    unsupported: tuple[Unsupported, ...] = ()
    """Instance types that the zone does not have."""
    back_offs: tuple[BackOff, ...] = ()
    """What EC2 refuses of healing and tidying (`core.backoff`)."""
    stable_since: datetime | None = None
    """When the traffic last became verified where it is now: the quiet period counts from here."""
    incident: Incident | None = None
    measured_until: datetime | None = None
    """Rounds up to here belong to an incident that is closed: they never open another."""
    paused_until: datetime | None = None
    obeyed: tuple[str, ...] = ()
    """Request ids of the last commands that were answered: Lambda may deliver each twice, minutes apart."""
    borrowed_at: datetime | None = None
    """When another address was last asked for, because its own is gone or refused; None again once it is back."""
    falls: tuple[Fall, ...] = ()
    """The ways home that did not last (`core.flapping`)."""
    observed: float | None = None
    """Percent of the time between the last two reports that rounds covered; the rest is unknown, not up."""
    not_home_since: datetime | None = None
    """Since when looks have shown the group's traffic elsewhere than on its own NAT, or no route at all."""
    unseen_since: datetime | None = None
    """Since when no look has succeeded; None: the last one did."""
    told: tuple[Told, ...] = ()
    """Warnings that a person has had: they are not repeated in each pass (`core.telling`)."""
    checks_mended: tuple[datetime, ...] = ()
    """When the source/dest check of the NAT in use was found on again, in the last hour."""
    apart_since: datetime | None = None
    """Since when looks have shown the prober's subnet behind a route table that is none of the group's, or none that
    anybody could name: what its packets meet says nothing of the group's path (`core.way`)."""
    apart_until: datetime | None = None
    """Until when its packets went another way: rounds sent by then are evidence of nothing."""
    settled_since: datetime | None = None
    """Since when looks have shown the group's routes on a NAT and its Elastic IP on its landing address there, with
    nothing under way: packets are seen from that address then, or took another path."""
    strange_address: str | None = None
    """The far end saw the prober from there although the group's path was settled; None once it saw the group's own."""
    strange_at: datetime | None = None
    """When it was last seen from there."""

    @property
    def is_apart(self) -> bool:
        """The prober's packets take another path than the group's, as far as anybody knows: nothing is evidence."""
        return self.apart_since is not None or self.strange_address is not None

    def is_yielding(self, now: datetime) -> bool:
        """What is not urgent leaves the account's request rate to whoever needs it more."""
        return self.throttled_at is not None and now - self.throttled_at < YIELDING

    def is_paused(self, now: datetime) -> bool:
        """An operator asked for stillness, and the time they set is not over."""
        return self.paused_until is not None and now < self.paused_until

    def proof_of(self, target: str) -> Proof | None:
        """The newest proof that packets went through `target`."""
        return next((each for each in self.proofs if each.target == target), None)

    def with_proof(self, target: str, first: datetime, last: datetime, freshness: timedelta) -> Memory:
        """Remembers successes through `target` sent from `first` to `last`; a row that is still fresh goes on."""
        known = self.proof_of(target)
        since = known.since if known is not None and first - known.at <= freshness else first
        newest = Proof(target, max(last, known.at) if known is not None else last, since)
        others = tuple(each for each in self.proofs if each.target != target)
        return replace(self, proofs=(newest, *others)[:6])

    def without_proof(self, target: str) -> Memory:
        """Forgets that `target` ever worked."""
        others = tuple(each for each in self.proofs if each.target != target)
        return self if others == self.proofs else replace(self, proofs=others)

    def with_loss(self, found: Exclusion) -> Memory:
        """Remembers where the group's packets were lost."""
        others = tuple(each for each in self.exclusions if each.target != found.target)
        return replace(self, exclusions=(*others[-KEPT_EXCLUSIONS:], found))

    def moving(self, target: str, now: datetime) -> Memory:
        """The traffic belongs on `target` from now on; what is known of the way there is what its calls answer."""
        return replace(
            self,
            target=target,
            moved_at=now,
            has_carried=False,
            address_move=None,
            is_stray=False,
            led_since=None,
            through_at=None,
            settled_since=None,
            stable_since=None,
            withdrawn_at=None,
        )

    def knowing(self, ids: Sequence[str]) -> Memory:
        """Remembers the group's own instances. One that a look does not show stays until others push it out, because
        the look may be old."""
        before = self.instances or ()
        found = (*before, *(each for each in ids if each not in before))
        surplus = [each for each in found if each not in ids][: max(len(found) - KEPT_INSTANCES, 0)]
        found = tuple(each for each in found if each not in surplus)
        return self if found == self.instances else replace(self, instances=found)

    def obeying(self, request_id: str | None) -> Memory:
        """Remembers that the command of this request was answered."""
        if request_id is None:
            return self
        return replace(self, obeyed=(request_id, *self.obeyed)[:KEPT_COMMANDS])

    def is_excluded(self, target: str, now: datetime) -> bool:
        """It failed a verification a short while ago."""
        return self.exclusion_of(target, now) is not None

    def exclusion_of(self, target: str, now: datetime) -> Exclusion | None:
        """What keeps traffic off it now; a target has one at most."""
        found = self.loss_on(target)
        return found if found is not None and now < found.until else None

    def loss_on(self, target: str | None) -> Exclusion | None:
        """Where packets were lost there within the hour, whether it is still left alone or not."""
        return next((each for each in self.exclusions if each.target == target), None)
