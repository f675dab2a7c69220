"""Setting up, putting back, and moving on purpose. Rows of the table of situations."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from natkeeper.core.incident import WatchRun
from natkeeper_lab.simulation.bus import TICK
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.machines import DEFAULT_ROUTE
from natkeeper_lab.simulation.scene import Scene, event
from natkeeper_lab.simulation.situations.table import situation


@situation("set-up, nothing is there", "first NAT", begins="bare")
def _set_up(_scene: Scene) -> dict[str, Any]:
    return TICK


@situation("set-up, the empty ledger of a stack at rest", "unobserved", begins="unknown")
def _unknown(_scene: Scene) -> dict[str, Any]:
    return TICK


@situation("adopt, the first route to a proven NAT", "first route")
def _adopt(scene: Scene) -> dict[str, Any]:
    nat = scene.nat("a")
    for table_id in scene.world.policy.group("a").table_ids:
        scene.world.ec2.delete_route(table_id)
    scene.remember("a", target=None, stable_since=None)
    scene.prove("a", nat, since=30 * SECOND)
    return TICK


@situation("adopt, unproven because there is no canary", "first route", is_home_reachable=False, has_canary=False)
def _adopt_unproven(scene: Scene) -> dict[str, Any]:
    _adopt(scene)
    scene.remember("a", proofs=())
    scene.prove("b")
    return TICK


# -- egress lives, and something is not where it belongs


@situation("converge, a route was edited", "converge")
def _edited(scene: Scene) -> dict[str, Any]:
    scene.world.ec2.set_route("rtb-a1", scene.eni(scene.nat("b")))
    return TICK


@situation("converge, a route was deleted", "converge")
def _deleted(scene: Scene) -> dict[str, Any]:
    scene.world.ec2.delete_route("rtb-a2")
    return TICK


@situation("converge, all routes were deleted", "converge")
def _all_deleted(scene: Scene) -> dict[str, Any]:
    for table_id in ("rtb-a1", "rtb-a2"):
        scene.world.ec2.delete_route(table_id)
    return TICK


@situation("converge, the address was moved", "converge")
def _address(scene: Scene) -> dict[str, Any]:
    scene.world.ec2.release(scene.world.ec2.elastics["eipalloc-a"])
    return TICK


@situation("converge, a failover left a table and the address behind", "unfinished move")
def _half_moved(scene: Scene) -> dict[str, Any]:
    host, own = scene.nat("b"), scene.nat("a")
    scene.world.ec2.set_route("rtb-a1", scene.eni(host))
    own.is_hung = True
    heard_at = scene.moment(2 * SECOND)
    scene.remember(
        "a",
        target=scene.eni(host),
        moved_at=scene.moment(5 * SECOND),
        is_down=True,
        down_at=heard_at,
        stable_since=None,
        proofs=(),
    )
    return TICK


@situation(
    "follow, packets get through by somebody else's route, and the own NAT is not proven", "somebody's route works"
)
def _follow(scene: Scene) -> dict[str, Any]:
    theirs = scene.launch("a")
    theirs.tags.clear()
    for table_id in scene.world.policy.group("a").table_ids:
        scene.world.ec2.tables[table_id].routes[DEFAULT_ROUTE] = scene.eni(theirs)
    scene.remember("a", is_stray=True, canary=None)
    scene.prove("a")
    return scene.report()


@situation("somebody's route carries one table, and the other leads nowhere", "torn group")
def _torn(scene: Scene) -> dict[str, Any]:
    theirs = scene.launch("a")
    theirs.tags.clear()
    scene.world.ec2.tables["rtb-a1"].routes[DEFAULT_ROUTE] = scene.eni(theirs)
    scene.world.ec2.delete_route("rtb-a2")
    scene.prove("a", scene.nat("a"), theirs)
    scene.remember("a", target=scene.eni(theirs), canary=None)
    return TICK


@situation("source/dest check was turned on, and packets went through just before", "source/dest check")
def _checked_alive(scene: Scene) -> dict[str, Any]:
    interface = scene.nat("a").interface
    assert interface is not None
    interface.is_checked = True
    return TICK


@situation("look again, an event is ahead of EC2's answers", "event ahead of EC2")
def _look_again(scene: Scene) -> dict[str, Any]:
    detail = {"instance-id": scene.nat("a").instance_id, "state": "stopping"}
    return event("aws.ec2", "EC2 Instance State-change Notification", detail)


# -- on purpose


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


@situation("leave a NAT that AWS will stop", "leave before AWS does")
def _leave(scene: Scene) -> dict[str, Any]:
    return _doom(scene)


@situation("make way for one that AWS will stop, nothing is verified", "make way")
def _make_way(scene: Scene) -> dict[str, Any]:
    scene.prove("b")
    scene.prove("a", scene.nat("a"))
    return _doom(scene)


@situation("an operator moves the traffic", "operator's move")
def _operator(_scene: Scene) -> dict[str, Any]:
    return {"natkeeper": {"command": "switchover", "group": "a", "to": "b"}}


@situation("an operator says failover and not whereto", "operator's move")
def _failover(_scene: Scene) -> dict[str, Any]:
    return {"natkeeper": {"command": "failover", "group": "a"}}


@situation("an operator is refused", "operator refused")
def _refused(scene: Scene) -> dict[str, Any]:
    scene.prove("b")
    scene.prove("a", scene.nat("a"))
    return {"natkeeper": {"command": "failover", "group": "a"}}


@situation("paused while the NAT stops", "paused")
def _paused(scene: Scene) -> dict[str, Any]:
    scene.remember("a", paused_until=scene.moment(-20 * SECOND))
    scene.world.ec2.stop(scene.nat("a"))
    return scene.changed(scene.nat("a"))


@situation("the next watch run", "at rest")
def _watch(scene: Scene) -> dict[str, Any]:
    return scene.report()


@situation("a watch run whose report never came", "at rest")
def _lost_run(scene: Scene) -> dict[str, Any]:
    scene.remember("a", watch=WatchRun("a-lost", scene.moment(90 * SECOND), timedelta(seconds=30)))
    return TICK
