"""The way home, and what is left to do at home. Rows of the table of situations."""

from __future__ import annotations

from typing import Any

from natkeeper.adapters.ec2_facts import GROUP_TAG
from natkeeper.core.incident import Canary, Repair
from natkeeper_lab.simulation.bus import TICK
from natkeeper_lab.simulation.hub import SECOND
from natkeeper_lab.simulation.scene import LONG_AGO, Scene
from natkeeper_lab.simulation.setting import PROVING
from natkeeper_lab.simulation.situations.table import situation


@situation("heal, start the NAT that stopped", "heal")
def _start(scene: Scene) -> dict[str, Any]:
    scene.go_away()
    scene.launch("a", state="stopped", public=False)
    return TICK


@situation("heal, launch a NAT", "heal")
def _launch(scene: Scene) -> dict[str, Any]:
    scene.go_away()
    return TICK


@situation("the launches of a day are used up", "launches spent", is_home_reachable=False)
def _launches_spent(scene: Scene) -> dict[str, Any]:
    scene.go_away()
    scene.remember("a", launches=tuple(scene.moment((600 + number) * SECOND) for number in range(6)))
    return TICK


@situation("heal, launch a NAT of the second type where the first has no capacity", "heal")
def _launch_second(scene: Scene) -> dict[str, Any]:
    scene.go_away()
    scene.lack("t4g.nano", 2 * SECOND)  # the wake-ups after it may have either
    return TICK


@situation("heal, launch again what nobody heard of", "heal")
def _launch_again(scene: Scene) -> dict[str, Any]:
    scene.go_away()
    scene.remember("a", repair=Repair("a-before", 1, scene.moment(20 * SECOND)), launches=(scene.moment(20 * SECOND),))
    return TICK


@situation("heal, the source/dest check of the new NAT", "heal")
def _check_off(scene: Scene) -> dict[str, Any]:
    scene.go_away()
    scene.launch("a", is_checked=True)
    return TICK


@situation("heal, the canary for the new NAT", "heal")
def _canary(scene: Scene) -> dict[str, Any]:
    scene.go_away()
    scene.launch("a")
    return TICK


@situation("heal, a public address of AWS's for the canary of a NAT that lost it", "heal", has_proving=False)
def _public(scene: Scene) -> dict[str, Any]:
    scene.go_away()
    scene.launch("a", public=False)
    return TICK


@situation("heal, the new NAT forwards nothing and is replaced", "heal")
def _no_good(scene: Scene) -> dict[str, Any]:
    scene.go_away(ago=400 * SECOND)
    bad = scene.launch("a", ago=300 * SECOND, forwards=False)
    scene.aim_canary("a", bad)
    pointed = scene.moment(260 * SECOND)
    scene.remember("a", canary=Canary(scene.eni(bad), pointed, pointed), repair=Repair("a-before", 1, pointed))
    return TICK


def _proven(scene: Scene, *, public: bool) -> dict[str, Any]:
    host = scene.go_away()
    own = scene.launch("a", public=public)
    scene.aim_canary("a", own)
    scene.remember("a", canary=Canary(scene.eni(own), scene.moment(39 * SECOND)))
    scene.prove("a", host, own, since=38 * SECOND)
    return TICK


@situation("heal, the landing address made bare, and home", "heal")
def _bare(scene: Scene) -> dict[str, Any]:
    return _proven(scene, public=True)


@situation("heal, the proving address is taken off again, and home", "heal")
def _returned(scene: Scene) -> dict[str, Any]:
    event = _proven(scene, public=False)
    (home,) = [each for each in scene.world.ec2.machines.values() if each.tag(GROUP_TAG) == "a"]
    assert home.interface is not None
    elastic = scene.world.ec2.elastics[PROVING]
    elastic.interface_id, elastic.private = home.interface.interface_id, home.interface.primary
    home.interface.public[home.interface.primary] = elastic.public
    return event


@situation("go home", "go home")
def _home(scene: Scene) -> dict[str, Any]:
    _proven(scene, public=False)
    scene.remember("a", withdrawn_at=scene.moment(SECOND))
    return TICK


# -- at rest, something is left to do


@situation("tidy, the canary has no route", "tidy")
def _canary_at_rest(scene: Scene) -> dict[str, Any]:
    scene.aim_canary("a", None)
    return TICK


@situation("tidy, launch the standby", "heal", standby="stopped")
def _standby(_scene: Scene) -> dict[str, Any]:
    return TICK


@situation("tidy, the standby is proven and waits stopped", "tidy", standby="stopped")
def _stop_standby(scene: Scene) -> dict[str, Any]:
    scene.launch("b", "standby", state="stopped", public=False)
    standby = scene.launch("a", "standby", ago=300 * SECOND)
    scene.aim_canary("a", standby)
    scene.remember("a", canary=Canary(scene.eni(standby), scene.moment(100 * SECOND)))
    scene.prove("a", scene.nat("a"), standby)
    return TICK


@situation("tidy, the standby that should run is stopped", "heal", standby="running")
def _start_standby(scene: Scene) -> dict[str, Any]:
    for zone in ("a", "b"):
        scene.launch(zone, "standby", state="stopped", public=False)
    return TICK


@situation("tidy, the source/dest check of the standby", "tidy", standby="running")
def _standby_check(scene: Scene) -> dict[str, Any]:
    for zone in ("a", "b"):
        scene.launch(zone, "standby", is_checked=zone == "a")
    return TICK


@situation("tidy, terminate what was replaced", "tidy")
def _surplus(scene: Scene) -> dict[str, Any]:
    carrier, old = scene.nat("a"), scene.launch("a", ago=2000 * SECOND)
    scene.aim_canary("a", old)
    scene.remember("a", canary=Canary(scene.eni(old), scene.moment(LONG_AGO)))
    scene.prove("a", carrier, old)
    return TICK
