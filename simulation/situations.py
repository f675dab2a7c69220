"""One starting situation for each plan that the controller can make with two zones and two tables.

Called by `simulation.small_worlds`. A row arranges a world, says what wakes the controller, and which reason its first
wake-up must give for zone a: a situation that stops calling for its plan fails, instead of proving nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from natkeeper.core.incident import Canary, Repair, WatchRun
from natkeeper.core.plan import Reason
from simulation.bus import TICK
from simulation.hub import SECOND
from simulation.scene import LONG_AGO, Scene, event
from simulation.setting import Setting

Arrange = Callable[[Scene], dict[str, Any]]


@dataclass(frozen=True)
class Situation:
    """`arrange` returns what wakes the controller. `expects`: a reason of zone a in that wake-up. `is_home_reachable`:
    traffic is on its own NAT in the end; not where a bound holds it or no canary can prove anything."""

    name: str
    expects: Reason
    arrange: Arrange
    setting: Setting
    is_home_reachable: bool


SITUATIONS: dict[str, Situation] = {}
SMALL = {"zones": 2, "tables": 2, "quiet": 20, "run": 30}


def situation(
    name: str, expects: Reason, *, is_home_reachable: bool = True, **setting: Any
) -> Callable[[Arrange], Arrange]:
    """Adds a row."""

    def add(arrange: Arrange) -> Arrange:
        assert name not in SITUATIONS, name
        SITUATIONS[name] = Situation(name, expects, arrange, Setting(**{**SMALL, **setting}), is_home_reachable)
        return arrange

    return add


# -- egress is dead


@situation("fail-over, the NAT stopped", Reason.FAIL_OVER)
def _stopped(scene: Scene) -> dict[str, Any]:
    scene.world.ec2.stop(scene.nat("a"))
    return scene.changed(scene.nat("a"))


@situation("fail-over, the NAT was terminated", Reason.FAIL_OVER)
def _terminated(scene: Scene) -> dict[str, Any]:
    scene.world.ec2.terminate(scene.nat("a"))
    return scene.changed(scene.nat("a"))


@situation("fail-over, the NAT is long gone and its routes are blackholes", Reason.FAIL_OVER)
def _blackhole(scene: Scene) -> dict[str, Any]:
    machine = scene.nat("a")
    scene.world.ec2.terminate(machine)
    scene.world.hub.run(15 * SECOND)
    del scene.world.ec2.machines[machine.instance_id]
    scene.prove("b", scene.nat("b"))
    return TICK


@situation("fail-over, the NAT hangs", Reason.FAIL_OVER)
def _hangs(scene: Scene) -> dict[str, Any]:
    scene.nat("a").is_hung = True
    return scene.report()


@situation("fail-over found by a tick, which must ask for the control probe", Reason.NEEDS_CONTROL_PROBE)
def _needs_control(scene: Scene) -> dict[str, Any]:
    scene.nat("a").is_hung = True
    scene.remember("a", is_down=True, proofs=(), stable_since=None)
    return TICK


@situation("fail-over to the standby", Reason.FAIL_OVER, standby="running")
def _to_standby(scene: Scene) -> dict[str, Any]:
    for zone in ("a", "b"):
        standby = scene.launch(zone, "standby")
        scene.aim_canary(zone, standby)
        scene.remember(zone, canary=Canary(scene.eni(standby), scene.moment(LONG_AGO)))
        scene.prove(zone, scene.nat(zone), standby)
    scene.world.ec2.stop(scene.nat("a"))
    return scene.changed(scene.nat("a"))


@situation("fail-over to the NAT gateway", Reason.FAIL_OVER, has_gateway=True)
def _to_gateway(scene: Scene) -> dict[str, Any]:
    scene.prove("b")
    scene.prove("a", scene.nat("a"))
    scene.world.ec2.stop(scene.nat("a"))
    return scene.changed(scene.nat("a"))


@situation("last resort, nothing is verified", Reason.LAST_RESORT)
def _last_resort(scene: Scene) -> dict[str, Any]:
    scene.prove("b")
    scene.prove("a", scene.nat("a"))
    scene.world.ec2.stop(scene.nat("a"))
    return scene.changed(scene.nat("a"))


@situation("no candidate, every NAT stopped", Reason.NO_CANDIDATE)
def _no_candidate(scene: Scene) -> dict[str, Any]:
    for zone in ("a", "b"):
        scene.world.ec2.stop(scene.nat(zone))
    return scene.changed(scene.nat("a"))


@situation("no candidate, the standby is roused", Reason.NO_CANDIDATE, standby="stopped")
def _rouse(scene: Scene) -> dict[str, Any]:
    for zone in ("a", "b"):
        scene.launch(zone, "standby", state="stopped", public=False)
        scene.world.ec2.stop(scene.nat(zone))
    return scene.changed(scene.nat("a"))


@situation("no candidate, the only NAT that runs forwards nothing and is replaced", Reason.NO_CANDIDATE)
def _replace_hung(scene: Scene) -> dict[str, Any]:
    scene.nat("a").is_hung = True
    scene.world.ec2.stop(scene.nat("b"))
    return scene.report()


@situation("source/dest check was turned on, and packets fail", Reason.HEALING)
def _checked(scene: Scene) -> dict[str, Any]:
    interface = scene.nat("a").interface
    assert interface is not None
    interface.is_checked = True
    return scene.report()


# -- egress is dead, and natkeeper holds


@situation("external, the targets are down for everyone", Reason.EXTERNAL)
def _external(scene: Scene) -> dict[str, Any]:
    scene.world.packets.targets_down = 3
    report = scene.report()
    scene.world.packets.targets_down = 2
    return report


@situation("common mode, every NAT hangs", Reason.COMMON_MODE, is_home_reachable=False)
def _common(scene: Scene) -> dict[str, Any]:
    for zone in ("a", "b"):
        scene.nat(zone).is_hung = True
    scene.remember("b", is_down=True, proofs=(), stable_since=None)
    return scene.report()


@situation("the failovers of an hour are used up", Reason.BUDGET_EXHAUSTED)
def _exhausted(scene: Scene) -> dict[str, Any]:
    scene.remember("a", failovers=tuple(scene.moment((60 + each) * SECOND) for each in range(6)))
    scene.world.ec2.stop(scene.nat("a"))
    return scene.changed(scene.nat("a"))


# -- setting up


@situation("set-up, nothing is there", Reason.HEALING, begins="bare")
def _set_up(_scene: Scene) -> dict[str, Any]:
    return TICK


@situation("set-up, the empty ledger of a stack at rest", Reason.UNOBSERVED, begins="unknown")
def _unknown(_scene: Scene) -> dict[str, Any]:
    return TICK


@situation("adopt, the first route to a proven NAT", Reason.ADOPT)
def _adopt(scene: Scene) -> dict[str, Any]:
    nat = scene.nat("a")
    for table_id in scene.world.policy.group("a").table_ids:
        scene.world.ec2.delete_route(table_id)
    scene.remember("a", target=None, stable_since=None)
    scene.prove("a", nat, since=30 * SECOND)
    return TICK


@situation("adopt, unproven because there is no canary", Reason.ADOPT, has_canary=False)
def _adopt_unproven(scene: Scene) -> dict[str, Any]:
    _adopt(scene)
    scene.remember("a", proofs=())
    scene.prove("b")
    return TICK


# -- egress lives, and something is not where it belongs


@situation("converge, a route was edited", Reason.CONVERGE)
def _edited(scene: Scene) -> dict[str, Any]:
    scene.world.ec2.set_route("rtb-a1", scene.eni(scene.nat("b")))
    return TICK


@situation("converge, a route was deleted", Reason.CONVERGE)
def _deleted(scene: Scene) -> dict[str, Any]:
    scene.world.ec2.delete_route("rtb-a2")
    return TICK


@situation("converge, all routes were deleted", Reason.CONVERGE)
def _all_deleted(scene: Scene) -> dict[str, Any]:
    for table_id in ("rtb-a1", "rtb-a2"):
        scene.world.ec2.delete_route(table_id)
    return TICK


@situation("converge, the address was moved", Reason.CONVERGE)
def _address(scene: Scene) -> dict[str, Any]:
    scene.world.ec2.release(scene.world.ec2.elastics["eipalloc-a"])
    return TICK


@situation("converge, a failover left a table and the address behind", Reason.CONVERGE)
def _half_moved(scene: Scene) -> dict[str, Any]:
    host, own = scene.nat("b"), scene.nat("a")
    scene.world.ec2.set_route("rtb-a1", scene.eni(host))
    own.is_hung = True
    scene.remember(
        "a", target=scene.eni(host), moved_at=scene.moment(5 * SECOND), is_down=True, stable_since=None, proofs=()
    )
    return TICK


@situation("source/dest check was turned on, and packets went through just before", Reason.HEALING)
def _checked_alive(scene: Scene) -> dict[str, Any]:
    interface = scene.nat("a").interface
    assert interface is not None
    interface.is_checked = True
    return TICK


@situation("look again, an event is ahead of EC2's answers", Reason.LOOK_AGAIN)
def _look_again(scene: Scene) -> dict[str, Any]:
    detail = {"instance-id": scene.nat("a").instance_id, "state": "stopping"}
    return event("aws.ec2", "EC2 Instance State-change Notification", detail)


# -- moves on purpose


def _doom(scene: Scene) -> dict[str, Any]:
    machine = scene.nat("a")
    machine.is_doomed_at = scene.world.hub.now + 300 * SECOND
    scene.world.hub.after(300 * SECOND, lambda: scene.world.ec2.terminate(machine), "retired")
    detail = {
        "service": "EC2",
        "eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
        "affectedEntities": [{"entityValue": machine.instance_id}],
    }
    return event("aws.health", "AWS Health Event", detail)


@situation("leave a NAT that AWS will stop", Reason.LEAVE_DOOMED)
def _leave(scene: Scene) -> dict[str, Any]:
    return _doom(scene)


@situation("make way for one that AWS will stop, nothing is verified", Reason.NO_CANDIDATE)
def _make_way(scene: Scene) -> dict[str, Any]:
    scene.prove("b")
    scene.prove("a", scene.nat("a"))
    return _doom(scene)


@situation("an operator moves the traffic", Reason.OPERATOR_MOVE)
def _operator(_scene: Scene) -> dict[str, Any]:
    return {"natkeeper": {"command": "switchover", "group": "a", "to": "b"}}


@situation("an operator is refused", Reason.OPERATOR_REFUSED)
def _refused(scene: Scene) -> dict[str, Any]:
    scene.prove("b")
    scene.prove("a", scene.nat("a"))
    return {"natkeeper": {"command": "failover", "group": "a"}}


@situation("paused while the NAT stops", Reason.PAUSED)
def _paused(scene: Scene) -> dict[str, Any]:
    scene.remember("a", paused_until=scene.moment(-20 * SECOND))
    scene.world.ec2.stop(scene.nat("a"))
    return scene.changed(scene.nat("a"))


@situation("the next watch run", Reason.AT_REST)
def _watch(scene: Scene) -> dict[str, Any]:
    return scene.report()


@situation("a watch run whose report never came", Reason.AT_REST)
def _lost_run(scene: Scene) -> dict[str, Any]:
    from datetime import timedelta

    scene.remember("a", watch=WatchRun("a-lost", scene.moment(90 * SECOND), timedelta(seconds=30)))
    return TICK


# -- the way home


@situation("heal, start the NAT that stopped", Reason.HEALING)
def _start(scene: Scene) -> dict[str, Any]:
    scene.go_away()
    scene.launch("a", state="stopped", public=False)
    return TICK


@situation("heal, launch a NAT", Reason.HEALING)
def _launch(scene: Scene) -> dict[str, Any]:
    scene.go_away()
    return TICK


@situation("heal, launch again what nobody heard of", Reason.HEALING)
def _launch_again(scene: Scene) -> dict[str, Any]:
    scene.go_away()
    scene.remember("a", repair=Repair("a-before", 1, scene.moment(20 * SECOND)), launches=(scene.moment(20 * SECOND),))
    return TICK


@situation("heal, the source/dest check of the new NAT", Reason.HEALING)
def _check_off(scene: Scene) -> dict[str, Any]:
    scene.go_away()
    scene.launch("a", is_checked=True)
    return TICK


@situation("heal, the canary for the new NAT", Reason.HEALING)
def _canary(scene: Scene) -> dict[str, Any]:
    scene.go_away()
    scene.launch("a")
    return TICK


@situation("heal, a public address for the canary of a NAT that lost it", Reason.HEALING)
def _public(scene: Scene) -> dict[str, Any]:
    scene.go_away()
    scene.launch("a", public=False)
    return TICK


@situation("heal, the new NAT forwards nothing and is replaced", Reason.HEALING)
def _no_good(scene: Scene) -> dict[str, Any]:
    scene.go_away(ago=400 * SECOND)
    bad = scene.launch("a", ago=300 * SECOND, forwards=False)
    scene.aim_canary("a", bad)
    pointed = scene.moment(200 * SECOND)
    scene.remember("a", canary=Canary(scene.eni(bad), pointed), repair=Repair("a-before", 1, pointed))
    return TICK


def _proven(scene: Scene, *, public: bool) -> dict[str, Any]:
    host = scene.go_away()
    own = scene.launch("a", public=public)
    scene.aim_canary("a", own)
    scene.remember("a", canary=Canary(scene.eni(own), scene.moment(39 * SECOND)))
    scene.prove("a", host, own, since=38 * SECOND)
    return TICK


@situation("heal, the landing address made bare, and home", Reason.HEALING)
def _bare(scene: Scene) -> dict[str, Any]:
    return _proven(scene, public=True)


@situation("go home", Reason.GO_HOME)
def _home(scene: Scene) -> dict[str, Any]:
    _proven(scene, public=False)
    scene.remember("a", withdrawn_at=scene.moment(SECOND))
    return TICK


# -- at rest, something is left to do


@situation("tidy, the canary has no route", Reason.TIDYING)
def _canary_at_rest(scene: Scene) -> dict[str, Any]:
    scene.aim_canary("a", None)
    return TICK


@situation("tidy, launch the standby", Reason.HEALING, standby="stopped")
def _standby(_scene: Scene) -> dict[str, Any]:
    return TICK


@situation("tidy, the standby is proven and waits stopped", Reason.TIDYING, standby="stopped")
def _stop_standby(scene: Scene) -> dict[str, Any]:
    scene.launch("b", "standby", state="stopped", public=False)
    standby = scene.launch("a", "standby", ago=300 * SECOND)
    scene.aim_canary("a", standby)
    scene.remember("a", canary=Canary(scene.eni(standby), scene.moment(100 * SECOND)))
    scene.prove("a", scene.nat("a"), standby)
    return TICK


@situation("tidy, the standby that should run is stopped", Reason.HEALING, standby="running")
def _start_standby(scene: Scene) -> dict[str, Any]:
    for zone in ("a", "b"):
        scene.launch(zone, "standby", state="stopped", public=False)
    return TICK


@situation("tidy, the source/dest check of the standby", Reason.TIDYING, standby="running")
def _standby_check(scene: Scene) -> dict[str, Any]:
    for zone in ("a", "b"):
        scene.launch(zone, "standby", is_checked=zone == "a")
    return TICK


@situation("tidy, terminate what was replaced", Reason.TIDYING)
def _surplus(scene: Scene) -> dict[str, Any]:
    carrier, old = scene.nat("a"), scene.launch("a", ago=2000 * SECOND)
    scene.aim_canary("a", old)
    scene.remember("a", canary=Canary(scene.eni(old), scene.moment(LONG_AGO)))
    scene.prove("a", carrier, old)
    return TICK
