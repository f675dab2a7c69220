"""What a verb may do, whoever plays the scenario: the lab with packets, the simulation on virtual time.

`scenario.verbs` knows a scenario under way only as `Hands`, so that a verb means the same in both; what differs between
the two worlds is in `scenario.scene_hands` and `simulation.scenario.hands`. What a verb looks at is a `Sight`.
Durations are seconds. May not import anything that needs an emulator or a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Literal, Protocol

from natkeeper.core.policy import Policy
from natkeeper_lab.faults import Faults
from natkeeper_lab.scenario.sight import Sight
from natkeeper_lab.scenario.times import Times

Power = Literal["stop", "start", "terminate", "reboot"]


class CannotDo(Exception):
    """A verb cannot be done here and now. It says why; `verbs.take` says which step that was."""


class Events(Protocol):
    """What becomes of the next events of AWS's."""

    def lose_events(self, count: int) -> None: ...
    def duplicate_events(self, count: int) -> None: ...
    def delay_events(self, seconds: float, count: int) -> None: ...
    def shuffle_events(self, count: int) -> None:
        """They are held until the last of them is there, and then come in the reverse order."""


class Hands(Protocol):
    """One scenario under way, to be interfered with. People do all this: no fault of natkeeper's calls concerns it."""

    @property
    def sight(self) -> Sight: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def account(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def refusals(self) -> type[Exception]:
        """What AWS's refusals are raised as."""

    @property
    def faults(self) -> Faults:
        """What goes wrong with natkeeper's calls."""

    @property
    def events(self) -> Events: ...
    @property
    def zones_down(self) -> Set[str]: ...
    @property
    def blocked(self) -> Set[int]:
        """Of the probe targets."""

    @property
    def is_closing(self) -> bool:
        """The scenario is over, and whatever goes on beside it has to end."""

    def by_hand(self) -> AbstractContextManager[None]:
        """What is done inside is noted as a person's."""

    def aside(self, run: Callable[[], object]) -> None:
        """Does it beside the timeline."""

    def wall(self) -> datetime:
        """The time that everybody's clocks should show."""

    # -- instances

    def power(self, how: Power, instance_id: str) -> None: ...
    def set_guest(self, instance_id: str, name: str, value: Any) -> bool:
        """False when nothing runs on it. `name`: is_hung, is_forwarding, has_ruleset, takes_new_flows, loss (a share)
        or megabits (a second, both ways together). A reboot puts it right."""

    def interface_of(self, instance_id: str) -> str:
        """Empty when it has none any more."""

    def check(self, interface_id: str) -> None:
        """Turns the source/dest check on."""

    def break_user_data(self, group: str | None, without: str) -> None:
        """Machines launched from now on (None: of any group) boot without their `script`, or the `rules` in it."""

    def remove_tag(self, instance_id: str, key: str) -> None: ...
    def launch_theirs(self, group: str, tags: Mapping[str, str], *, is_in_our_vpc: bool) -> None:
        """Somebody's machine that forwards whatever comes, in the group's public subnet or in another VPC."""

    # -- places, routes and addresses

    def set_zone(self, zone: str, *, is_down: bool) -> None:
        """The zone's NATs are silent, and EC2 still shows them as running; or they speak again."""

    def block_targets(self, indexes: Set[int]) -> None:
        """These probe targets answer nobody, and the others do."""

    def block_public_access(self, is_blocked: bool) -> None: ...
    def set_route(self, table_id: str, interface_id: str | None) -> None:
        """The table's default route; None deletes it."""

    def add_table(self, interface_id: str) -> None:
        """A private route table that natkeeper was never told of, with that default route."""

    def table_by_name(self, group: str) -> str:
        """The table that names the prober's subnet; empty where none does, and the main table counts."""

    def table_for(self, group: str, which: str) -> str:
        """The VPC's `main` one; or an `other`: somebody's, with a way out through a NAT gateway of theirs."""

    def associate_subnet(self, group: str, table_id: str | None) -> None:
        """Puts the prober's subnet on a table by name, or on none. The workloads' stays where it is."""

    def association_of(self, allocation_id: str) -> str | None:
        """Of an Elastic IP: empty when it is on nothing, None when there is none of that allocation."""

    def disassociate(self, association_id: str) -> None: ...
    def release(self, allocation_id: str) -> None: ...

    # -- events

    def publish(self, source: str, kind: str, detail: dict[str, Any]) -> None:
        """An event of AWS's."""

    def deliver(self, event: dict[str, Any]) -> None:
        """An envelope on its way to the controller as it is; nobody waits for it."""

    def wake(self, event: dict[str, Any]) -> Mapping[str, Any]:
        """One invocation of the controller, waited for, and its answer: `refused` says why it refused the event. An
        `errorType` in it is of one that ended in an error and is not tried again."""

    def mark_spot(self, instance_id: str) -> None:
        """AWS will interrupt the spot instance, and warns of it."""

    def retire(self, instance_id: str, seconds: float, notice: dict[str, Any]) -> None:
        """EC2 confirms that it will retire the instance's host so soon, and AWS Health sends that notice."""

    def know_foreign(self, instance_ids: Sequence[str]) -> None:
        """There are instances of these ids in the account, and they are other people's."""

    def change_foreign(self, instance_id: str, state: str) -> None:
        """One of them is in another state now, and EC2 says so."""

    # -- AWS's own times and answers

    def set_times(self, times: Times) -> None:
        """For whatever begins after it; the others stay."""

    def lag(self, operation: str, seconds: float) -> None:
        """Answers of this describe call (or pattern) are so old from now on."""

    def machines_asked_for(self, params: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
        """(instance type, zone) of each machine that a launch or a start would need."""

    # -- functions and the ledger

    def crash_controller(self, after_calls: int) -> None:
        """The next invocation dies once so many of its calls were applied; it never hears the last answer."""

    def skew(self, function: str, seconds: float) -> None:
        """`controller` or `prober-a`: its wall clock is so much ahead."""

    def set_cpu_share(self, function: str, percent: float | None) -> None: ...
    def stop_schedule(self, seconds: float) -> None: ...
    def add_controller(self) -> None:
        """Another copy of the function is woken beside the first by everything."""

    def deploy_generation(self) -> None:
        """Another version of the launch template, and the controller is told of it."""

    def item(self, group: str) -> Mapping[str, Any]:
        """The group's item in the ledger, in DynamoDB's form; empty when there is none."""

    def write(self, group: str, attribute: str, value: Mapping[str, Any]) -> None:
        """Sets one attribute of it."""
