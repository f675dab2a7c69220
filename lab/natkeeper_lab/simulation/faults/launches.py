"""A replacement cannot be had, or is no good. Rows of the fault table; each also takes the group's NAT away, so that
one is wanted."""

from __future__ import annotations

from natkeeper_lab.simulation.api import Call
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.faults.table import Act, fault

STARTS = ("RunInstances", "StartInstances")


def _terminate(act: Act) -> None:
    """The trouble behind it: the zone's NAT is gone."""
    found = act.running(act.group())
    if found:
        act.world.ec2.terminate(found[0])


def _refuse(act: Act, name: str, code: str, operations: tuple[str, ...] = STARTS) -> None:
    act.rule(name, operations, refuses=ApiError(code, "refused"), only=lambda call: not _is_repeat(act, call))
    _terminate(act)


def _is_repeat(act: Act, call: Call) -> bool:
    """EC2 answers a client token that it knows as it did the first time, and needs nothing new for that (API reference,
    "Ensuring idempotency")."""
    token = call.params.get("ClientToken")
    return token is not None and any(each.token == token for each in act.world.ec2.machines.values())


@fault(
    "no-capacity-for-the-first-type",
    "Launch",
    weight=1,
    sees="a replacement of another type",
    does="asks for the next type of InstanceTypes in the same pass",
    never="waits for the first type while another can be had",
)
def _first_type(act: Act) -> None:
    first = act.world.policy.instance_types[0]

    def wants_first(call: Call) -> bool:
        return call.params.get("InstanceType") == first and not _is_repeat(act, call)

    refusal = ApiError("InsufficientInstanceCapacity", "", 500)
    act.rule("no-capacity-for-the-first-type", ("RunInstances",), refuses=refusal, only=wants_first)
    _terminate(act)


for _name, _code, _what in (
    ("no-capacity", "InsufficientInstanceCapacity", "AWS has no machine in the zone"),
    ("vcpu-quota", "VcpuLimitExceeded", "the account's vCPU quota is used up"),
    ("address-quota", "AddressLimitExceeded", "the account's address quota is used up"),
    ("interface-quota", "NetworkInterfaceLimitExceeded", "the account's interface quota is used up"),
    ("subnet-full", "InsufficientFreeAddressesInSubnet", "the public subnet has no address left"),
):

    def _inject(act: Act, name: str = _name, code: str = _code) -> None:
        _refuse(act, name, code)

    fault(
        _name,
        "Launch",
        weight=1,
        sees=f"traffic stays away ({_what}); the log names EC2's code",
        does="keeps traffic on the neighbour and asks again after 15 s, then ever more slowly, in the end every two "
        "minutes; what AWS refused is none of the day's MaxLaunchesPerDay, and after four refusals in a row it says so",
        never="takes a launch that failed for one that is on its way",
    )(_inject)

for _name, _code, _what in (
    ("launch-template-gone", "InvalidLaunchTemplateId.NotFound", "somebody deleted the launch template"),
    ("image-deregistered", "InvalidAMIID.Unavailable", "the AMI was deregistered"),
):

    def _inject_gone(act: Act, name: str = _name, code: str = _code) -> None:
        _refuse(act, name, code, ("RunInstances",))

    fault(
        _name,
        "Launch",
        weight=1,
        sees=f"traffic stays away ({_what}); `Errors`, and the code in the log",
        does="keeps traffic on the neighbour and asks again after 15 s, then ever more slowly, in the end every two "
        "minutes, so that it launches soon after the stack was deployed again",
        never="stops or terminates what still works to try something else",
    )(_inject_gone)


@fault(
    "type-unsupported",
    "Launch",
    weight=1,
    sees="a replacement of another type; `EC2 refuses` in the log names `Unsupported`",
    does="remembers for a day that the zone does not have the type, and asks for the next of InstanceTypes; where none "
    "is left it says once what to do, and asks again after an hour",
    never="asks for the same type again and again as if it were for want of capacity",
)
def _unsupported(act: Act) -> None:
    first, *others = act.world.policy.instance_types
    if not others:
        return

    def wants_first(call: Call) -> bool:
        return call.params.get("InstanceType") == first and not _is_repeat(act, call)

    refusal = ApiError("Unsupported", "Your requested instance type is not supported in your requested zone.")
    act.rule("type-unsupported", ("RunInstances",), refuses=refusal, only=wants_first)
    _terminate(act)


@fault(
    "slow-launch",
    "Launch",
    weight=3,
    sees="a replacement some seconds later",
    does="waits up to 8 s for RunInstances' answer, and does not begin one that could outlast the pass",
    never="gives a launch up that AWS is still making, or repeats it under another token",
)
def _slow_launch(act: Act) -> None:
    act.rule("slow-launch", STARTS, delay=act.dice.randrange(1_400_000, 8_500_000))
    _terminate(act)


@fault(
    "launched-and-terminated",
    "Launch",
    weight=2,
    sees="nothing; one more of the day's launches is used",
    does="learns by `IdempotentInstanceTerminated` that the launch is over, and makes the next under another token",
    never="repeats a token whose instance is gone",
)
def _launched_and_terminated(act: Act) -> None:
    world = act.world
    act.rule("launched-and-terminated", ("RunInstances",), loses=True, times=1)

    def end(call: Call) -> None:
        if call.operation == "RunInstances" and not ended:
            newborn = [each for each in world.ec2.machines.values() if each.token == call.params["ClientToken"]]
            for each in newborn:
                ended.append(each.instance_id)
                world.hub.after(500_000, lambda each=each: world.ec2.terminate(each), "terminated")  # type: ignore[misc]

    ended: list[str] = []
    world.after_call.append(end)
    _terminate(act)


@fault(
    "kms-key-disabled",
    "Launch",
    weight=1,
    sees="instances that go from pending to terminated",
    does="launches another when the one before is gone, up to MaxLaunchesPerDay; then it holds, and `failover-failed` "
    "rings",
    never="launches without end",
)
def _kms(act: Act) -> None:
    world = act.world

    def kill_newborn(call: Call) -> None:
        if call.operation == "RunInstances" and world.hub.now < act.ends_at:
            newborn = [each for each in world.ec2.machines.values() if each.state == "pending" and each.token]
            if newborn:
                world.fired("kms-key-disabled")
                world.hub.after(1_500_000, lambda: world.ec2.terminate(newborn[-1]), "Client.InternalError")

    world.after_call.append(kill_newborn)
    _terminate(act)


@fault(
    "user-data-fails",
    "Launch",
    weight=3,
    sees="a replacement that runs and forwards nothing; traffic stays away",
    does="its canary never answers, so after 450 s it terminates it, and launches one of the next type",
    never="moves a route to an instance because EC2 says that it runs",
)
def _user_data(act: Act) -> None:
    group = act.group()

    def is_broken(zone: str) -> bool:
        if zone == group:
            act.fired("user-data-fails")
        return zone == group

    act.world.ec2.is_script_broken = is_broken
    _terminate(act)


@fault(
    "stuck-pending",
    "Launch",
    weight=1,
    sees="a replacement that stays pending",
    does="waits 450 s for it, then launches another",
    never="waits for ever",
)
def _stuck(act: Act) -> None:
    act.world.ec2.stuck_pending = True
    _terminate(act)

    def note(call: Call) -> None:
        if call.operation in STARTS:
            act.fired("stuck-pending")

    act.world.after_call.append(note)


@fault(
    "not-found-after-launch",
    "Launch",
    weight=2,
    sees="nothing",
    does="repeats the launch with the same token, or waits two minutes for what it was told was launched",
    never="launches a second one because the first is not visible yet",
)
def _not_found(act: Act) -> None:
    act.world.ec2.visible_after = act.dice.randrange(2, 30) * 1_000_000
    act.world.answers.keeps_history = True
    _terminate(act)
    act.world.after_call.append(
        lambda call: act.fired("not-found-after-launch") if call.operation == "RunInstances" else None
    )


@fault(
    "tags-come-late",
    "Launch",
    weight=2,
    sees="nothing",
    does="waits two minutes for what it was told was launched: an instance without its tags is not yet natkeeper's",
    never="launches a second one",
)
def _tags_late(act: Act) -> None:
    act.world.ec2.tagged_after = act.dice.randrange(2, 30) * 1_000_000
    _terminate(act)
    act.world.after_call.append(lambda call: act.fired("tags-come-late") if call.operation == "RunInstances" else None)


@fault(
    "spot-interruption",
    "Launch",
    weight=3,
    sees="a planned move before AWS takes the instance",
    does="asks EC2 whether it is so, moves the traffic away while the NAT still works, and replaces it",
    never="moves because of the event alone",
)
def _spot(act: Act) -> None:
    found = act.running(act.group())
    if not found:
        return
    act.fired("spot-interruption")
    act.world.bus.mark_spot(found[0].instance_id, "marked-for-termination")
