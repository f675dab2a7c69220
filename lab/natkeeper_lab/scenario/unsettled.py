"""Why natkeeper did not come to rest before the first step. Called by `scenario.scene`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from natkeeper_lab.scenario.scene import Scene


def why_unsettled(scene: Scene) -> str:
    """Each group's last decision, and what a NAT's boot script said when it failed."""
    last = {each.fields["group"]: each.fields for each in scene.journal.decisions()}
    said = [f"; zone {group}: {each['reason_code']}, {each['message']}" for group, each in sorted(last.items())]
    for machine in scene.stack.api.machines():
        try:
            boot = scene.stack.network.boot_result(machine.instance_id)
        except KeyError:
            continue
        if not boot.is_ok:
            said.append(f"; user data of {machine.instance_id} ended with {boot.exit_code}: {boot.console[-300:]}")
    return "".join(said) or "; it decided nothing"
