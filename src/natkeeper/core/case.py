"""What the rules read of one group in one turn: the view, the verdict on its path, and what follows from the two.

Made by `decide`, read by `rules`. Each property is worked out at most once, and only where a rule asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from natkeeper.core.failover import is_apart, mark_dead
from natkeeper.core.heal import heal
from natkeeper.core.incident import Cause, Memory
from natkeeper.core.judge import Health, Verdict
from natkeeper.core.model import ControlProbe, Instance, Network, Unknown
from natkeeper.core.news import Command, InstanceChanged, News, ProbeReport, Verb
from natkeeper.core.overload import guest_to_blame, is_spared
from natkeeper.core.policy import Group
from natkeeper.core.replacement import Step
from natkeeper.core.spare import tidy
from natkeeper.core.view import Path, View

MOVING_VERBS = (Verb.FAILOVER, Verb.SWITCHOVER)


@dataclass(frozen=True)
class Observation:
    """All that one turn knows about one group. `others`: the memories of the stack's other groups. `is_rumoured`: a run
    that nobody remembers to have started says that egress is down (`core.runs`)."""

    group: Group
    network: Network | Unknown
    others: Mapping[str, Memory] = field(default_factory=dict)
    news: Sequence[News] = ()
    control: ControlProbe | None = None
    answers: Mapping[str, ProbeReport | None] = field(default_factory=dict)
    """What the probers of other groups said that were asked (`Plan.asks`); None where one could not be."""
    is_rumoured: bool = False


@dataclass(frozen=True)
class Case:
    """One group, its path's verdict, and what came. `seen`: the view before the verdict changed what is remembered."""

    seen: View
    verdict: Verdict
    observation: Observation

    @property
    def health(self) -> Health:
        """The verdict in one word."""
        return self.verdict.health

    @cached_property
    def view(self) -> View:
        """The view, with the incident that a dead path opens, and without that path's proof."""
        if self.health is not Health.DEAD or self.is_new:
            return self.seen
        return self.seen.remembering(mark_dead(self.seen, self.verdict))

    @cached_property
    def is_new(self) -> bool:
        """The group has no default route and never had one."""
        memory = self.seen.memory
        return memory.incident is None and memory.moved_at is None and self.verdict.cause is Cause.ROUTE_MISSING

    @property
    def is_by_packets(self) -> bool:
        """EC2 shows nothing wrong with the present path: only its packets fail."""
        return self.health is Health.DEAD and not self.is_new and self.verdict.cause is Cause.PROBES_FAILED

    @property
    def doomed(self) -> Path | None:
        """The present path, where AWS will stop its NAT."""
        present = self.view.present
        owner = present.instance if present is not None else None
        return present if owner is not None and self.view.is_doomed(owner) else None

    # -- where a group whose path is dead could go

    @cached_property
    def usable(self) -> Sequence[Path]:
        """Every other path that could carry packets, as far as EC2 shows and this group remembers, best first."""
        return [path for path in self.view.paths if path.target != self.view.target and self.view.is_usable(path)]

    @cached_property
    def verified(self) -> Sequence[Path]:
        """Every other path that packets went through a short while ago, best first."""
        return [path for path in self.usable if self.view.is_verified(path)]

    @cached_property
    def guest_to_blame(self) -> str | None:
        """What another group's traffic has to do with the loss."""
        return guest_to_blame(self.view)

    @cached_property
    def apart(self) -> Sequence[Path]:
        """Of the verified those that do not share the fault; on packets alone the others may fail too."""
        if not self.is_by_packets:
            return self.verified
        answered = {name: answer is not None for name, answer in self.observation.answers.items()}
        return [path for path in self.verified if is_apart(self.view, path, answered)]

    @cached_property
    def spared(self) -> Sequence[Path]:
        """Of those apart the ones on which both groups' traffic was too much."""
        return [path for path in self.apart if is_spared(self.view, path)] if self.is_by_packets else ()

    @property
    def is_spent(self) -> bool:
        """The hour's failovers are used up."""
        return len(self.view.memory.failovers) >= self.view.policy.max_failovers_per_hour

    @cached_property
    def choice(self) -> Path | None:
        """The best of what is left; over the hour's failovers, nothing on which this group's packets failed."""
        left = [path for path in self.apart if path not in self.spared]
        return next((path for path in left if not (self.is_spent and self.has_failed_on(path))), None)

    def has_failed_on(self, path: Path) -> bool:
        """Within the hour this group's packets never got through there, and nothing has begun to since: to go there
        once more is a shuffle. What is proven otherwise is gone to, however many failovers there were."""
        failed = self.view.memory.loss_on(path.target)
        return failed is not None and not failed.had_carried and not self.view.is_mended(path, failed)

    # -- what came

    @cached_property
    def command(self) -> Command | None:
        """The operator's, unless it was answered already: a failover that Lambda delivers twice would go there and
        back."""
        commands = (news for news in self.observation.news if isinstance(news, Command))
        return next((command for command in commands if self._is_new_to(command)), None)

    def _is_new_to(self, command: Command) -> bool:
        is_ours = command.group in (None, self.view.group.name) and command.verb in MOVING_VERBS
        return is_ours and command.request_id not in self.view.memory.obeyed

    @cached_property
    def chosen(self) -> Path | None:
        """Where the operator's command leads; None where nothing that fits is verified."""
        command, view = self.command, self.view
        if command is None:
            return None
        wanted = (path for path in view.paths if path.target != view.target and self._is_meant(command, path))
        return next((path for path in wanted if view.is_usable(path) and view.is_verified(path)), None)

    def _is_meant(self, command: Command, path: Path) -> bool:
        if command.verb is Verb.FAILOVER or command.to is None:
            return True
        owner = path.instance.group if path.instance is not None else "gateway"
        return owner == (self.view.group.name if command.to == "home" else command.to)

    @cached_property
    def contradicted(self) -> tuple[InstanceChanged, Instance] | None:
        """An event says that the NAT in use stopped, and EC2's API does not show it yet."""
        owner = self.view.network.owner_of(self.view.target or "")
        stops = (each for each in self.observation.news if isinstance(each, InstanceChanged) and each.is_leaving)
        told = next((stop for stop in stops if owner is not None and stop.instance_id == owner.instance_id), None)
        return (told, owner) if told is not None and owner is not None else None

    # -- what is left to do where egress works

    @cached_property
    def step(self) -> Step:
        """The next step towards the group's own NAT; once it is home, what keeps somebody ready to take over."""
        step = heal(self.view)
        return step if step.reason is not None else tidy(self.view.remembering(step.memory))
