"""The verbs about what other people do to the account, and about what is said in natkeeper's name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from natkeeper_lab.scenario.file import Step
from natkeeper_lab.scenario.foreign import their_tags
from natkeeper_lab.scenario.forged import forged_record
from natkeeper_lab.scenario.hands import CannotDo, Hands
from natkeeper_lab.scenario.poison import poisoned
from natkeeper_lab.scenario.verbs.aim import Verb

LEASE_ENDS = 10.0
"""So long is waited for a lease to be given back: its holder would write over what the ledger is made to say."""


# -- addresses, subnets, machines


def _disassociate(hands: Hands, step: Step) -> None:
    """Somebody takes the group's Elastic IP off what it is on; it still belongs to the account."""
    found = _address(hands, step)
    if "AssociationId" not in found:
        raise CannotDo("it is on nothing at this moment")
    hands.ec2("DisassociateAddress", AssociationId=found["AssociationId"])


def _release(hands: Hands, step: Step) -> None:
    """Somebody gives the group's Elastic IP back to AWS, which takes none that is on something
    (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ReleaseAddress.html)."""
    found = _address(hands, step)
    if "AssociationId" in found:
        hands.ec2("DisassociateAddress", AssociationId=found["AssociationId"])
    hands.ec2("ReleaseAddress", AllocationId=found["AllocationId"])


def _address(hands: Hands, step: Step) -> Mapping[str, Any]:
    """The group's Elastic IP, as EC2 shows it."""
    allocation = hands.policy.group(step.args["group"]).allocation_id
    only = [{"Name": "allocation-id", "Values": [allocation]}]
    found = hands.ec2("DescribeAddresses", Filters=only)["Addresses"]
    if not found:
        raise CannotDo(f"{allocation} is released already")
    return cast(Mapping[str, Any], found[0])


def _associate_subnet(hands: Hands, step: Step) -> None:
    if not hands.put_subnet(step.args["group"], step.args["table"]):
        raise CannotDo("the subnet is on no table by name already")


def _tag_foreign(hands: Hands, step: Step) -> None:
    """Somebody's machine that carries our three tags."""
    group = step.args["group"] or hands.sight.scenario.zones[0]
    tags = their_tags(hands.policy.stack, group, step.args["role"])
    hands.launch_theirs(group, tags, is_in_our_vpc=step.args["vpc"] == "same")


# -- what is said in natkeeper's name


def _forge(hands: Hands, step: Step) -> None:
    """A destination's record of a function that is no prober of ours."""
    at = hands.wall() + timedelta(seconds=step.args["ahead"])
    hands.deliver(forged_record(step.args["group"], step.args["says"], at, hands.account, hands.region))


def _poison(hands: Hands, step: Step) -> None:
    """Somebody writes to the ledger."""
    group = step.args["group"]
    item = _item_without_holder(hands, group)
    if not item:
        raise CannotDo(f"the ledger has no item of zone {group} yet")
    try:
        changed = poisoned(item, step.args["field"], step.args["value"], hands.wall())
    except ValueError as problem:
        raise CannotDo(str(problem)) from None
    for attribute, value in changed.items():
        hands.write(group, attribute, value)


def _item_without_holder(hands: Hands, group: str) -> Mapping[str, Any]:
    deadline = hands.sight.now() + LEASE_ENDS
    while _is_held(item := hands.item(group), hands.wall()) and hands.sight.now() < deadline:
        hands.sight.sleep(0.05)
    return item


def _is_held(item: Mapping[str, Any], now: datetime) -> bool:
    return float(item.get("lease_until", {}).get("N", 0)) > now.timestamp() * 1000


VERBS: Mapping[str, Verb] = {
    "disassociate_address": _disassociate,
    "release_address": _release,
    "associate_subnet": _associate_subnet,
    "block_public_access": lambda hands, _step: hands.block_public_access(True),
    "unblock_public_access": lambda hands, _step: hands.block_public_access(False),
    "tag_foreign_instance": _tag_foreign,
    "forged_report": _forge,
    "poison_ledger": _poison,
}
