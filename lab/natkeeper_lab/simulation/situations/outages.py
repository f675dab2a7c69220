"""Egress is dead: where to, or why nothing may be done. Rows of the table of situations."""

from __future__ import annotations

from typing import Any

from natkeeper.core.incident import AddressMove, Canary, Exclusion, Proof
from natkeeper_lab.simulation.api import READS, Call, Rule
from natkeeper_lab.simulation.bus import TICK
from natkeeper_lab.simulation.errors import ApiError
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.scene import LONG_AGO, Scene
from natkeeper_lab.simulation.situations.table import situation


@situation("fail-over, the NAT stopped", "fail over")
def _stopped(scene: Scene) -> dict[str, Any]:
    scene.world.ec2.stop(scene.nat("a"))
    return scene.changed(scene.nat("a"))


@situation("fail-over, the NAT was terminated", "fail over")
def _terminated(scene: Scene) -> dict[str, Any]:
    scene.world.ec2.terminate(scene.nat("a"))
    return scene.changed(scene.nat("a"))


@situation("fail-over, the NAT is long gone and its routes are blackholes", "fail over")
def _blackhole(scene: Scene) -> dict[str, Any]:
    machine = scene.nat("a")
    scene.world.ec2.terminate(machine)
    scene.world.hub.run(15 * SECOND)
    del scene.world.ec2.machines[machine.instance_id]
    scene.prove("b", scene.nat("b"))
    return TICK


@situation("fail-over, the NAT hangs", "fail over")
def _hangs(scene: Scene) -> dict[str, Any]:
    scene.nat("a").is_hung = True
    return scene.report()


@situation("fail-over found by a tick, which must ask for the control probe", "control probe")
def _needs_control(scene: Scene) -> dict[str, Any]:
    scene.nat("a").is_hung = True
    scene.remember("a", is_down=True, failing_since=scene.moment(), proofs=(), stable_since=None)
    return TICK


@situation("awaiting the address, which has not followed yet", "awaiting address")
def _awaited(scene: Scene) -> dict[str, Any]:
    host = scene.go_away(ago=5 * SECOND)
    asked = scene.moment(3 * SECOND)
    scene.remember("a", proofs=(), stable_since=None, address_move=AddressMove(scene.eni(host), asked, asked))
    world = scene.world
    elastic = world.ec2.elastics[world.policy.group("a").allocation_id]
    interface = host.interface
    assert interface is not None
    public = interface.public.pop(elastic.private or "")
    report = scene.report()
    elastic.follows_at = world.hub.now + SECOND
    world.hub.after(SECOND, lambda: interface.public.update({elastic.private or "": public}), "remap")
    world.hub.after(SECOND, world._changed, "remap")
    asked = scene.moment(5 * SECOND)
    scene.remember("a", address_move=AddressMove(scene.eni(host), asked, asked))
    return report


@situation("proving a NAT that has no public address", "heal")
def _lent(scene: Scene) -> dict[str, Any]:
    scene.go_away()
    scene.launch("a", public=False)
    return TICK


@situation("fail-over to the standby", "fail over", standby="running")
def _to_standby(scene: Scene) -> dict[str, Any]:
    for zone in ("a", "b"):
        standby = scene.launch(zone, "standby")
        scene.aim_canary(zone, standby)
        scene.remember(zone, canary=Canary(scene.eni(standby), scene.moment(LONG_AGO)))
        scene.prove(zone, scene.nat(zone), standby)
    scene.world.ec2.stop(scene.nat("a"))
    return scene.changed(scene.nat("a"))


@situation("fail-over to the NAT gateway", "fail over", has_gateway=True)
def _to_gateway(scene: Scene) -> dict[str, Any]:
    scene.prove("b")
    scene.prove("a", scene.nat("a"))
    scene.world.ec2.stop(scene.nat("a"))
    return scene.changed(scene.nat("a"))


@situation("last resort, nothing is verified", "last resort")
def _last_resort(scene: Scene) -> dict[str, Any]:
    scene.prove("b")
    scene.prove("a", scene.nat("a"))
    scene.world.ec2.stop(scene.nat("a"))
    return scene.changed(scene.nat("a"))


@situation("no candidate, every NAT stopped", "no candidate")
def _no_candidate(scene: Scene) -> dict[str, Any]:
    for zone in ("a", "b"):
        scene.world.ec2.stop(scene.nat(zone))
    return scene.changed(scene.nat("a"))


@situation("no candidate, the standby is roused", "no candidate", standby="stopped")
def _rouse(scene: Scene) -> dict[str, Any]:
    for zone in ("a", "b"):
        scene.launch(zone, "standby", state="stopped", public=False)
        scene.world.ec2.stop(scene.nat(zone))
    return scene.changed(scene.nat("a"))


@situation("no candidate, the only NAT that runs forwards nothing and is replaced", "no candidate")
def _replace_hung(scene: Scene) -> dict[str, Any]:
    scene.nat("a").is_hung = True
    scene.world.ec2.stop(scene.nat("b"))
    return scene.report()


@situation("source/dest check was turned on, and packets fail", "source/dest check")
def _checked(scene: Scene) -> dict[str, Any]:
    interface = scene.nat("a").interface
    assert interface is not None
    interface.is_checked = True
    return scene.report()


# -- and natkeeper holds


@situation("external, the targets are down for everyone", "targets down")
def _external(scene: Scene) -> dict[str, Any]:
    scene.world.packets.targets_down = 3
    report = scene.report()
    scene.world.packets.targets_down = 2
    return report


@situation("common mode, every NAT hangs", "common mode", is_home_reachable=False)
def _common(scene: Scene) -> dict[str, Any]:
    for zone in ("a", "b"):
        scene.nat(zone).is_hung = True
    scene.remember("b", is_down=True, failing_since=scene.moment(), proofs=(), stable_since=None)
    return scene.report()


@situation("the neighbour's NAT hangs too, and its group has not said so yet", "ask the others", zones=3)
def _asked(scene: Scene) -> dict[str, Any]:
    for zone in ("a", "b"):
        scene.nat(zone).is_hung = True
    return scene.report()


@situation("the failovers of an hour are used up", "failovers spent")
def _exhausted(scene: Scene) -> dict[str, Any]:
    lost = Exclusion(scene.eni(scene.nat("b")), scene.moment(SECOND), scene.moment(61 * SECOND))
    scene.remember("a", failovers=tuple(scene.moment((60 + each) * SECOND) for each in range(6)), exclusions=(lost,))
    scene.world.ec2.stop(scene.nat("a"))
    return scene.changed(scene.nat("a"))


@situation("the Elastic IP is gone, another stands in", "another address", is_home_reachable=False)
def _borrowed(scene: Scene) -> dict[str, Any]:
    ec2 = scene.world.ec2
    ec2.release(ec2.elastics["eipalloc-a"])
    del ec2.elastics["eipalloc-a"]
    return scene.report()


@situation("the guest whose load may be to blame has just left", "guest to blame")
def _left(scene: Scene) -> dict[str, Any]:
    scene.nat("a").is_hung = True
    report = scene.report()
    lost = Exclusion(scene.eni(scene.nat("a")), scene.moment(-58 * SECOND), scene.moment(2 * SECOND))
    scene.remember("b", exclusions=(lost,))
    return report


@situation("the candidate is back since this group's last lost round", "all are back")
def _all_back(scene: Scene) -> dict[str, Any]:
    scene.nat("a").is_hung = True
    report = scene.report()
    scene.nat("a").is_hung = False
    found = Proof(scene.eni(scene.nat("b")), scene.moment(), scene.moment(SECOND // 10))
    scene.remember("b", proofs=(found,))
    scene.remember("a", proofs=())
    return report


@situation("the candidate lost this group's packets and carries its own since", "too small for both")
def _too_small(scene: Scene) -> dict[str, Any]:
    own, host = scene.nat("a"), scene.nat("b")
    own.is_hung = True
    report = scene.report()
    lost_at = scene.moment(30 * SECOND)
    scene.remember("a", exclusions=(Exclusion(scene.eni(host), lost_at, lost_at),), proofs=())
    scene.remember("a", moved_at=scene.moment(25 * SECOND), through_at=scene.moment(6 * SECOND))
    scene.prove("b", host, since=20 * SECOND)
    return report


@situation("traffic was moved without a ledger, and the recorded NAT is gone", "moved already")
def _moved_already(scene: Scene) -> dict[str, Any]:
    own, host = scene.nat("a"), scene.nat("b")
    assert host.interface is not None
    scene.carry("a", host, host.interface.addresses[1])
    scene.world.ec2.terminate(own)
    return scene.changed(own)


@situation("nothing is verified, and a path that was left forwards again", "forwards again")
def _forwards_again(scene: Scene) -> dict[str, Any]:
    host = scene.nat("b")
    lost = Exclusion(scene.eni(host), scene.moment(-30 * SECOND), scene.moment(30 * SECOND))
    scene.prove("b")
    scene.prove("a", scene.nat("a"), host, since=15 * SECOND)
    scene.remember("a", exclusions=(lost,))
    scene.world.ec2.stop(scene.nat("a"))
    return scene.changed(scene.nat("a"))


@situation("cannot look, EC2's API is down while the NAT stops", "cannot look")
def _blind(scene: Scene) -> dict[str, Any]:
    def is_read(call: Call) -> bool:
        return call.operation in READS

    unavailable = ApiError("Unavailable", "The server is overloaded and can't handle the request.", 503)
    scene.world.api.rules.append(Rule("region-down", is_read, unavailable, ends_at=6 * SECOND))
    scene.world.ec2.stop(scene.nat("a"))
    return scene.changed(scene.nat("a"))
