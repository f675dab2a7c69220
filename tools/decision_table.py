"""docs/decision-table.md, made from natkeeper's own table of rules: `python -m tools.decision_table` prints it.

`tests/simulation/test_rules.py` holds the page, the rules, the simulation's situations and the runbook against each
other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import timedelta

from natkeeper.core.failover import AGAIN
from natkeeper.core.judge import Health
from natkeeper.core.plan import Reason
from natkeeper.core.policy import Policy
from natkeeper.core.rules import RULES, Rule
from natkeeper_lab.simulation.situations import SITUATIONS

HEALTH: Mapping[Health, tuple[str, str]] = {
    Health.ALIVE: ("alive", "the group's own packets went through the present path within `freshness`"),
    Health.DEAD: (
        "dead",
        "EC2 shows that the path cannot carry packets (no route, instance stopped or gone, address gone), or "
        "`rounds_to_fail` rounds in a row failed that can only mean this path, and the control probe passed after that",
    ),
    Health.NEEDS_CONTROL: ("control", "as many rounds failed, and the control probe has not been sent yet"),
    Health.EXTERNAL: ("external", "the control probe fails too, or failed until a moment ago"),
    Health.COMMON_MODE: ("common", "as many rounds failed of every group, each of whose NATs runs"),
    Health.UNOBSERVED: ("unknown", "no packet has said anything about this path within `freshness`"),
}
QUESTIONS: Mapping[str, tuple[Reason, ...]] = {
    "When does a failover happen?": (Reason.FAIL_OVER, Reason.LAST_RESORT, Reason.BORROW_ADDRESS),
    "When does traffic move on purpose, and when does it come home?": (
        Reason.GO_HOME,
        Reason.LEAVE_DOOMED,
        Reason.OPERATOR_MOVE,
        Reason.ADOPT,
        Reason.CONVERGE,
    ),
    "When does natkeeper hold still?": (
        *(Reason.PAUSED, Reason.NEEDS_CONTROL_PROBE, Reason.EXTERNAL, Reason.COMMON_MODE, Reason.OVERLOADED),
        *(Reason.ASK_NEIGHBOURS, Reason.LOOK_AGAIN, Reason.UNOBSERVED, Reason.OPERATOR_REFUSED),
        *(Reason.BUDGET_EXHAUSTED, Reason.AT_REST),
    ),
    "What is launched or started, and when?": (Reason.HEALING, Reason.NO_CANDIDATE, Reason.TIDYING),
}
LIMITS: Mapping[str, str] = {
    "interval": "between two rounds of packets",
    "rounds_to_fail": "rounds in a row that fail before probes say that egress is down",
    "freshness": "so long a packet that got through proves a path",
    "quiet_period": "so long the own NAT is proven, and the present path undisturbed, before traffic goes home",
    "exclusion": "so long a path that failed its verification is left alone",
    "address_arrival": "so long after AssociateAddress was answered lost packets condemn nothing",
    "address_limit": "so long a NAT with a public address may lose the canary's packets before it is given up",
    "boot_limit": "so long a launched NAT may take until it forwards; then another is launched",
    "start_limit": "the same for one that was started, or that ran and forwarded nothing",
    "max_failovers_per_hour": "failovers of a group within an hour; beyond, only to what its packets never failed on",
    "max_launches_per_day": "launches of a group within a day",
    "doom_notice": "so long before an announced stop the traffic leaves",
}
HEAD = """\
# The decision table

What natkeeper does about a group is decided by the first row of this table that applies, read from top to bottom; the
last row always applies. The page is made from `RULES` (src/natkeeper/core/rules.py) by `python -m
tools.decision_table`, and a test compares the two. Words are those of the [glossary](glossary.md).

Before the table: where EC2 could not be asked, nothing is done (`cannot-look`). After it, a plan that would rest while
packets are lost and the group's Elastic IP may be under way is called `awaiting-address`. Every plan starts the next
watch run where none is under way.

"""
DIAGRAM = """\
## The way of a group's traffic

```mermaid
stateDiagram-v2
    [*] --> home
{edges}
```

"""


def page() -> Iterator[str]:
    """The page, line by line."""
    yield from HEAD.splitlines()
    yield from _verdicts()
    yield from _table()
    yield from DIAGRAM.format(edges="\n".join(_edges())).splitlines()
    yield from _questions()
    yield from _limits()


def _verdicts() -> Iterator[str]:
    yield from ("## The verdict on the group's path", "", "| verdict | when |", "|---|---|")
    yield from (f"| {word} | {text} |" for word, text in HEALTH.values())
    yield ""


def _table() -> Iterator[str]:
    yield from (
        "## The rules, in order",
        "",
        "| # | rule | verdict | when | then | reason code |",
        "|---|---|---|---|---|---|",
    )
    for number, rule in enumerate(RULES, 1):
        then = f"{rule.then}; beside it: {rule.beside}" if rule.beside else rule.then
        yield f"| {number} | {rule.name} | {_on(rule)} | {rule.when} | {then} | `{rule.reason.value}` |"
    yield ""


def _on(rule: Rule) -> str:
    if rule.on == frozenset(Health):
        return "any"
    return ", ".join(word for health, (word, _) in HEALTH.items() if health in rule.on)


def _edges() -> Iterator[str]:
    for number, rule in enumerate(RULES, 1):
        for origin, goal in rule.edges:
            yield f"    {origin} --> {goal}: {number} {rule.name}"


def _questions() -> Iterator[str]:
    for question, reasons in QUESTIONS.items():
        yield from (f"## {question}", "")
        for number, rule in enumerate(RULES, 1):
            if rule.reason in reasons:
                yield f"- **{number}, {rule.name}.** When {rule.when}: {rule.then}.{_shown(rule)}"
        yield ""


def _shown(rule: Rule) -> str:
    names = [name for name, situation in SITUATIONS.items() if situation.rule == rule.name]
    return f" Shown by {_some(names)}." if names else ""


def _some(names: Sequence[str]) -> str:
    quoted = [f"*{name}*" for name in names[:3]]
    return ", ".join(quoted) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _limits() -> Iterator[str]:
    yield from ("## The limits that the rules name", "", "| limit | default | meaning |", "|---|---|---|")
    defaults = {field.name: field.default for field in fields(Policy)}
    for name, text in LIMITS.items():
        yield f"| `{name}` | {_value(defaults[name])} | {text} |"
    yield f"| twenty seconds | {_value(AGAIN)} | the least time that a path is left alone on which packets failed |"


def _value(value: object) -> str:
    return f"{value.total_seconds():g} s" if isinstance(value, timedelta) else str(value)


if __name__ == "__main__":
    print("\n".join(page()))
