"""One group's view of one look at the network: the questions that judging and planning ask, answered once.

Built by `decide`. Pure. May not import anything but the standard library's data types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from itertools import takewhile

from natkeeper.core.incident import MOVING_ADDRESS, Exclusion, Memory, Proof
from natkeeper.core.launches import backed_off
from natkeeper.core.model import DEFAULT_ROUTE, ElasticIp, Instance, InstanceState, Network, Role
from natkeeper.core.policy import Group, Policy

NOTHING = Memory()


@dataclass(frozen=True)
class Path:
    """A place traffic can go to. `landing`: the private address that the group's packets are translated to, None for
    a gateway and for a NAT that has no address to spare for this group."""

    target: str
    instance: Instance | None = None
    landing: str | None = None
    is_bare: bool = True


@dataclass(frozen=True)
class View:
    """Everything `decide` may look at for one group. `others` holds the other groups' memories."""

    group: Group
    network: Network
    memory: Memory
    others: Mapping[str, Memory]
    policy: Policy
    now: datetime

    def remembering(self, memory: Memory) -> View:
        """The same view with another memory; itself where the memory is the same one."""
        if memory is self.memory:
            return self
        view = View(self.group, self.network, memory, self.others, self.policy, self.now)
        # Places come from the look alone: they are the same with any memory.
        vars(view)["paths"] = self.paths
        return view

    # -- where the traffic is

    def points_at(self, destination: str) -> dict[str, str | None]:
        """Each existing table of the group and what the destination's route targets (None: no such route)."""
        found: dict[str, str | None] = {}
        for table_id in self.group.table_ids:
            table = self.network.tables.get(table_id)
            if table is not None:
                route = table.routes.get(destination)
                found[table_id] = route.target if route else None
        return found

    @cached_property
    def probed_tables(self) -> frozenset[str]:
        """The group's table that the prober's packets follow: the one that names its subnet; where none of the VPC's
        does, the main one. Empty where that is not the group's, or EC2 did not say: they take another path."""
        tables = [each for name in self.group.table_ids if (each := self.network.tables.get(name)) is not None]
        subnet, others = self.group.private_subnet_id, self.network.associations
        named = frozenset(each.table_id for each in tables if subnet in each.subnet_ids)
        is_on_main = subnet in others and others[subnet] is None
        return named or frozenset(each.table_id for each in tables if each.is_main and is_on_main)

    def probed(self, destination: str) -> list[str | None]:
        """Where the prober's packets to the destination may go."""
        return [each for name, each in self.points_at(destination).items() if name in self.probed_tables]

    @cached_property
    def majority(self) -> str | None:
        """What most of the group's default routes target; None when most have no default route."""
        targets = list(self.points_at(DEFAULT_ROUTE).values())
        return max(targets, key=targets.count, default=None)

    @cached_property
    def target(self) -> str | None:
        """Where the traffic belongs: the recorded intent, or, where nothing is recorded, where it is."""
        return self.memory.target or self.majority

    def is_blackhole(self, target: str) -> bool:
        """EC2 itself says that a default route of the group leads nowhere."""
        tables = (self.network.tables.get(each) for each in self.group.table_ids)
        routes = (each.routes.get(DEFAULT_ROUTE) for each in tables if each is not None)
        return any(each is not None and each.target == target and each.is_blackhole for each in routes)

    # -- who is there

    def instances(self, role: Role, group: str | None = None) -> tuple[Instance, ...]:
        """Instances of the role that are not gone, newest first."""
        return self.network.alive.get((group or self.group.name, role), ())

    @cached_property
    def home(self) -> Instance | None:
        """The group's own NAT: the one that carries the traffic, else the newest that runs, else the newest."""
        nats = self.instances(Role.NAT)
        for each in nats:
            if each.interface is not None and each.interface.interface_id == self.target:
                return each
        running = [each for each in nats if each.state in (InstanceState.RUNNING, InstanceState.PENDING)]
        return next(iter((*running, *nats)), None)

    @property
    def is_home(self) -> bool:
        """The traffic belongs on the group's own NAT."""
        home = self.home
        return home is not None and home.interface is not None and home.interface.interface_id == self.target

    @cached_property
    def used(self) -> frozenset[str | None]:
        """Whatever carries somebody's traffic, by the memories or by any default route of the stack."""
        return self.network.default_targets.union((self.target,), (each.target for each in self.others.values()))

    @property
    def proving_address(self) -> ElasticIp | None:
        """The stack's spare Elastic IP, if it has one and the look showed it."""
        spare = self.policy.proving
        return self.network.addresses.get(spare.allocation_id) if spare is not None else None

    def boot_time(self, instance: Instance) -> timedelta:
        """How long the instance may take until it forwards: less where the attempt under way only started it."""
        memory = self.memory
        repair = memory.repair if instance.role is Role.NAT else memory.standby_repair
        is_start = repair is not None and not repair.is_launched
        return self.policy.start_limit if is_start else self.policy.boot_limit

    # -- where it could go

    def path_to(self, instance: Instance) -> Path | None:
        """The path through an instance of this stack, with the address this group's packets leave from."""
        if instance.interface is None:
            return None
        interface = instance.interface
        if instance.group == self.group.name and instance.role is Role.NAT:
            landing = interface.primary
        else:
            hosts = (self.group.name,) if instance.group == self.group.name else self.policy.hosted_by(instance.group)
            at = hosts.index(self.group.name)
            if at >= len(interface.secondaries):
                return Path(interface.interface_id, instance)
            landing = interface.secondaries[at]
        is_bare = landing.public in (None, self.group.public_address)
        return Path(interface.interface_id, instance, landing.address, is_bare)

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """Every place the traffic could be, best first: own NAT, standby, neighbours in ring order, gateway."""
        instances: list[Instance] = list(self.instances(Role.NAT))
        instances += self.instances(Role.STANDBY)
        for name in self.policy.neighbours_of(self.group.name):
            instances += self.instances(Role.NAT, name)
        found = [path for each in instances if (path := self.path_to(each)) is not None]
        if self.group.gateway_id is not None:
            found.append(Path(self.group.gateway_id))
        return tuple(found)

    @cached_property
    def present(self) -> Path | None:
        """The path the traffic belongs on; None when its target is none of the stack's."""
        return next((path for path in self.paths if path.target == self.target), None)

    @cached_property
    def is_address_gone(self) -> bool:
        """Somebody released the group's Elastic IP: a look that is whole does not show it."""
        return self.group.allocation_id not in self.network.addresses

    @cached_property
    def is_address_stuck(self) -> bool:
        """It is gone, or EC2 has refused to move it more than once and is not asked again yet."""
        known = next((each for each in self.memory.back_offs if each.kind == MOVING_ADDRESS), None)
        is_refused = known is not None and known.refusals > 1
        return self.is_address_gone or (
            known is not None and is_refused and self.now < known.refused_at + backed_off(known.refusals)
        )

    def has_public_address(self, path: Path) -> bool:
        """The group's packets would leave from some public address as things are."""
        interface = path.instance.interface if path.instance is not None else None
        if interface is None or path.landing is None:
            return True
        return any(each.address == path.landing and each.public is not None for each in interface.addresses)

    def is_mute(self, path: Path) -> bool:
        """The group's packets would leave from nowhere: no address is there, and its own cannot be moved."""
        return self.is_address_stuck and not self.has_public_address(path)

    def is_usable(self, path: Path) -> bool:
        """Fit, and not just found wanting."""
        return not self._is_excluded(path) and self.is_fit(path)

    def is_fit(self, path: Path) -> bool:
        """Running, able to forward by its settings, not about to be stopped, with a public address to leave from."""
        if self.is_mute(path):
            return False
        if path.instance is None:
            return True
        return path.instance.is_running and not self.is_checked(path) and not self.is_doomed(path.instance)

    def _is_excluded(self, path: Path) -> bool:
        """Found wanting a short while ago, and nothing has proven it since."""
        found = self.memory.exclusion_of(path.target, self.now)
        return found is not None and not self.is_mended(path, found)

    def is_mended(self, path: Path, exclusion: Exclusion) -> bool:
        """Packets of the group whose NAT it is get through again, in a row that began after the failure (simulation,
        seed 740002431: it had been rebooted), or the canary's where the traffic was only a guess: the NAT may have been
        booting (seed 730014079).

        The canary's do not speak for one that was proven: they leave from another address than this group's would, so
        they would go on while its own do not, and the traffic would go to and fro.
        """
        owner = self.others.get(path.instance.group, NOTHING) if path.instance is not None else NOTHING
        theirs, own = owner.proof_of(path.target), self.memory.proof_of(path.target)
        proofs = (theirs, own if exclusion.is_guess else None)
        since = exclusion.since
        return since is not None and any(proof is not None and proof.since > since for proof in proofs)

    def is_verified(self, path: Path) -> bool:
        """Real packets went through it a short while ago: this group's own, or those of the group whose NAT it is.

        A NAT gateway counts as verified: AWS runs it, and it stands last in the list.
        """
        if path.instance is None:
            return True
        own = self.memory.proof_of(path.target)
        if path.instance.group == self.group.name:
            return self.is_proven(path.target) or self._carries_another(path.target)
        owner = self.others.get(path.instance.group, NOTHING)
        if owner.is_down and owner.target == path.target:
            return False
        theirs = owner.proof_of(path.target)
        if theirs is not None and self._is_fresh(theirs):
            return True
        # Its owner has lost faith in it: only a canary that passed after that counts.
        return own is not None and self._is_fresh(own) and (owner.moved_at is None or own.at > owner.moved_at)

    @property
    def failing_since(self) -> datetime:
        """When the group's packets began to fail; again, where one got through meanwhile. Where its own prober has not
        said so (the NAT's group has, or an older version wrote the memory), when the newest rounds began to be lost."""
        recent = self.memory.recent
        lost = [each.sent_at for each in takewhile(lambda each: not each.is_ok, reversed(recent))]
        began = self.memory.failing_since
        if began is None or (lost and len(lost) < len(recent)):
            return min(lost, default=self.now - self.policy.freshness)
        return began

    def is_verified_since(self, path: Path, instant: datetime) -> bool:
        """Packets have been through it since then: whatever made others' fail did not make these."""
        if path.instance is None:
            return True
        users = (self.memory, *self._users(path.target).values(), self.others.get(path.instance.group, NOTHING))
        proofs = (each.proof_of(path.target) for each in users)
        return any(proof is not None and proof.at > instant for proof in proofs)

    def is_back_since(self, path: Path, instant: datetime) -> bool:
        """Packets get through it in a row that began after that: whatever mended it may have mended others."""
        if path.instance is None:
            return False
        users = (self.memory, *self._users(path.target).values(), self.others.get(path.instance.group, NOTHING))
        proofs = [proof for each in users if (proof := each.proof_of(path.target)) is not None]
        return bool(proofs) and max(proofs, key=lambda each: each.at).since > instant

    def askable(self, path: Path) -> str | None:
        """The group whose prober can say whether packets get through it; None where nobody else's traffic is on it."""
        users = self._users(path.target)
        owner = path.instance.group if path.instance is not None else ""
        return owner if owner in users else next(iter(users), None)

    def _users(self, target: str) -> dict[str, Memory]:
        """Those whose traffic belongs on it; where that is not remembered, those whose tables lead to it."""
        return {
            name: each
            for name, each in self.others.items()
            if each.target == target or (each.target is None and self._leads_to(name, target))
        }

    def _leads_to(self, name: str, target: str) -> bool:
        tables = [self.network.tables.get(each) for each in self.policy.group(name).table_ids]
        routes = [each.routes.get(DEFAULT_ROUTE) for each in tables if each is not None]
        return any(each is not None and each.target == target for each in routes)

    def is_proven(self, target: str) -> bool:
        """This group's own packets, or its canary's, went through it a short while ago."""
        own = self.memory.proof_of(target)
        return own is not None and self._is_fresh(own)

    def _carries_another(self, target: str) -> bool:
        """The packets of another group, which it hosts, get through: AWS gives such a NAT no public address to prove it
        with."""
        guests = (each for each in self.others.values() if each.target == target and not each.is_down)
        proofs = (each.proof_of(target) for each in guests)
        return any(proof is not None and self._is_fresh(proof) for proof in proofs)

    @property
    def next_choice(self) -> Path | None:
        """Where traffic could go from where it belongs: the first place that is usable and verified."""
        other = (each for each in self.paths if each.target != self.target)
        return next((each for each in other if self.is_usable(each) and self.is_verified(each)), None)

    @property
    def has_egress(self) -> bool:
        """Packets went through where the traffic belongs, a short while ago."""
        proof = self.memory.proof_of(self.target) if self.target is not None else None
        return proof is not None and self._is_fresh(proof)

    def _is_fresh(self, proof: Proof) -> bool:
        return self.now - proof.at <= self.policy.freshness

    def is_checked(self, path: Path) -> bool:
        """Source/dest check is on: the interface drops what it should forward."""
        interface = path.instance.interface if path.instance is not None else None
        return interface is not None and interface.is_source_dest_checked

    def is_doomed(self, instance: Instance) -> bool:
        """AWS confirmed that it will stop it soon; whichever group's pass asked remembers it for all."""
        dooms = (doom for each in (self.memory, *self.others.values()) for doom in each.dooms)
        known = (doom.at for doom in dooms if doom.instance_id == instance.instance_id)
        return any(at - self.now <= self.policy.doom_notice for at in known)
