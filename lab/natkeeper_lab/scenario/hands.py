"""What a verb may do, whoever plays the scenario: the lab with packets, the simulation on virtual time.

`scenario.verbs` knows a scenario under way only as `Hands`, so that a verb means the same in both; what differs between
the two worlds is in `scenario.scene_hands` and `simulation.scenario.hands`. What a verb looks at is a `Sight`.
Durations are seconds. May not import anything that needs an emulator or a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from natkeeper.core.policy import Policy
from natkeeper_lab.faults import Faults
from natkeeper_lab.scenario.sight import Sight


class CannotDo(Exception):
    """A verb cannot be done here and now. It says why; `verbs.take` says which step that was."""


class Events(Protocol):
    """Events of AWS's: more of them, and what becomes of the next ones. EC2 knows what it announces."""

    def lose_events(self, count: int) -> None: ...
    def duplicate_events(self, count: int) -> None: ...
    def delay_events(self, seconds: float, count: int) -> None: ...
    def shuffle_events(self, count: int) -> None:
        """They are held until the last of them is there, and then come in the reverse order."""

    def emit(self, detail_type: str, detail: dict[str, Any], *, source: str = "aws.ec2") -> None: ...
    def mark_spot(self, instance_id: str, code: str) -> None:
        """The status code of its spot request, such as `marked-for-termination`, of which AWS warns."""

    def schedule_retirement(self, instance_id: str, not_before: datetime, notice: Mapping[str, Any]) -> None:
        """Of the instance's host; AWS Health sends the notice."""

    def know_foreign(self, instance_ids: Sequence[str]) -> None:
        """There are instances of these ids in the account, and they are other people's."""

    def change_state_of_foreign(self, instance_id: str, state: str) -> None: ...


class Hands(Protocol):
    """One scenario under way, to be interfered with. People do all this: no fault of natkeeper's calls concerns it."""

    account: str
    region: str
    vpc: str
    refusals: type[Exception]
    """What AWS's refusals are raised as."""
    zones_down: set[str]
    blocked: Set[int]
    """Of the probe targets."""

    @property
    def sight(self) -> Sight: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def faults(self) -> Faults:
        """What goes wrong with natkeeper's calls."""

    @property
    def events(self) -> Events: ...
    @property
    def is_closing(self) -> bool:
        """The scenario is over, and whatever goes on beside it has to end."""

    def by_hand(self) -> AbstractContextManager[None]:
        """What is done inside is noted as a person's."""

    def aside(self, run: Callable[[], object]) -> None:
        """Does it beside the timeline."""

    def wall(self) -> datetime:
        """The time that everybody's clocks should show."""

    def ec2(self, operation: str, **params: Any) -> Mapping[str, Any]:
        """A person's call, in the API's own words."""

    # -- instances and places

    def set_guest(self, instance_id: str, name: str, value: Any) -> bool:
        """False when nothing runs on it. `name`: is_hung, is_forwarding, has_ruleset, takes_new_flows, loss (a share)
        or megabits (a second, both ways together). A reboot puts it right."""

    def break_user_data(self, group: str | None, without: str) -> None:
        """Machines launched from now on (None: of any group) boot without their `script`, or the `rules` in it."""

    def launch_theirs(self, group: str, tags: Mapping[str, str], *, is_in_our_vpc: bool) -> None:
        """Somebody's machine that forwards whatever comes, in the group's public subnet or in another VPC."""

    def set_zone(self, zone: str, *, is_down: bool) -> None:
        """The zone's NATs are silent, and EC2 still shows them as running; or they speak again."""

    def block_targets(self, indexes: Set[int]) -> None:
        """These probe targets answer nobody, and the others do."""

    def block_public_access(self, is_blocked: bool) -> None: ...
    def put_subnet(self, group: str, which: str) -> bool:
        """Names the prober's subnet on the VPC's `main` table, on an `other`, which is somebody's and leads out through
        a gateway of theirs, or on `none`; False where it is on none already. The workloads' stays where it is."""

    # -- AWS's own times and answers

    def set_time(self, name: str, value: float | str | None) -> None:
        """One of `scenario.times`, for whatever begins after it. None: never."""

    def lag(self, operation: str, seconds: float) -> None:
        """Answers of this describe call (or pattern) are so old from now on."""

    # -- functions and the ledger

    def deliver(self, event: dict[str, Any]) -> None:
        """An envelope on its way to the controller as it is; nobody waits for it."""

    def wake(self, event: dict[str, Any]) -> Mapping[str, Any]:
        """One invocation of the controller, waited for, and its answer: `refused` says why it refused the event. An
        `errorType` in it is of one that ended in an error and is not tried again."""

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
