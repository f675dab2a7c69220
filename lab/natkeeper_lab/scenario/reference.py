"""`python -m natkeeper_lab.scenario.reference` prints docs/scenario-reference.md: every word of a scenario file.

What a word may be given comes from `scenario.vocabulary`, what it means from `scenario.meanings`, a parameter's
description from template.yaml.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from natkeeper_lab.scenario.alarms import template
from natkeeper_lab.scenario.meanings import (
    CLOCKS,
    EXPECTATIONS,
    FLOW,
    KINDS,
    METRICS,
    TARGETS,
    TOP,
    VERBS,
)
from natkeeper_lab.scenario.times import TIMES
from natkeeper_lab.scenario.vocabulary import EXPECTATIONS as EXPECT
from natkeeper_lab.scenario.vocabulary import GROUPED, MADE_BY_THE_LAB, NAT_GATEWAYS, PARAMETERS, STEPS, Arg, Verb
from natkeeper_lab.scenario.vocabulary import METRICS as METRIC_NAMES

WIDTH = 120
HEAD = """\
# Scenario reference

Every word of a scenario file: keys, verbs, targets, expectations, metrics, parameters, and what each may be given. An
unknown word is an error that names the file, the line and what is allowed. [scenarios.md](scenarios.md) says how to
play a file and when an expectation is judged. `python -m natkeeper_lab.scenario.reference` prints this page, and
`tests/scenarios/test_reference.py` holds it against the code.
"""
EXAMPLE = """\
name: annotated-example
why: a NAT is stopped while the Elastic IP is slow to follow, and its group comes home by itself
zones: [a, b]                        # one egress group each; the lab builds a VPC with two zones
stack:
  ProbeInterval: 1                   # a template parameter, given as the stack would get it
flows:                               # 20 connections of zone a, opened before the first step
  - {from: a, count: 20, speaks: client, every: 0.2}
timeline:
  - {at: 1, do: address_remap, seconds: 2}        # step 1: from now on packets follow an Elastic IP 2 s late
  - {at: 2, do: stop_instance, target: active@a}  # step 2: somebody stops the NAT that carries zone a
expect:
  - {restored: a, within: 10}                     # 10 s after the last step at the latest
  - {egress_address: a, is: same}                 # 7 s after the last step, as no clock is given
  - {route: b, is: unchanged, after: 2}           # to the end of the run, counted from step 2
  - {eventually: 120, route: a, is: home}         # 120 s after the expectation before it was decided
  - {failovers: a, at_most: 1}                    # over the whole run
  - {incidents: a, count: 1, contain_truth: true}
  - {log: a, reason_code: fail-over}              # may also be written {log: fail-over}, of any group
"""


def page() -> Iterator[str]:
    """docs/scenario-reference.md, line by line."""
    yield from HEAD.splitlines()
    yield from ("", "## An example", "", "```yaml", *EXAMPLE.splitlines(), "```")
    yield from ("", "## Keys", "", *_table(("key", "meaning"), [(_code(key), text) for key, text in TOP.items()]))
    yield from ("", "## Flows", "", *_flows())
    yield from ("", "## Steps", "", *_steps())
    yield from ("", "## Targets", "", *_targets())
    yield from ("", "## Expectations", "", *_expectations())
    yield from ("", "## Values", "", *_values())
    yield from ("", "## Metrics", "", *_metrics())
    yield from ("", "## Parameters", "", *_parameters())
    yield from ("", "## AWS's times as options", "", *_times())


def _flows() -> Iterator[str]:
    rows = [(_code(key), kind, default, text) for key, (kind, default, text) in FLOW.items()]
    yield from _table(("key", "value", "if not given", "meaning"), rows)


def _steps() -> Iterator[str]:
    yield from _wrapped(
        "Each step has `at`, in seconds after the clock's zero, and `do`, one of these verbs. *Given with it* lists "
        "the verb's other keys, each with the kind of its [value](#values)."
    )
    for area, verbs in VERBS.items():
        yield from ("", f"### {area}", "")
        rows = [(_code(name), _target_of(STEPS[name]), _args(STEPS[name].args), text) for name, text in verbs.items()]
        rows = [
            (name, on, f"{given} {_one_of(STEPS[name.strip('`')])}".strip(), text) for name, on, given, text in rows
        ]
        yield from _table(("verb", "target", "given with it", "what happens"), rows)


def _target_of(verb: Verb) -> str:
    named = ", ".join(_code(_form(each)) for each in verb.targets)
    return named if verb.needs_target or not named else f"{named}; or none"


def _one_of(verb: Verb) -> str:
    return f"(exactly one of {' and '.join(map(_code, verb.one_of))})" if verb.one_of else ""


def _args(args: Mapping[str, Arg]) -> str:
    return "; ".join(f"{_code(key)}: {_kind(arg)}{_default(arg)}" for key, arg in args.items())


def _kind(arg: Arg) -> str:
    if arg.kind != "choice":
        return f"*{arg.kind}*"
    *others, last = map(_code, arg.choices)
    return f"{', '.join(others)} or {last}"


def _default(arg: Arg) -> str:
    if arg.is_needed:
        return ""
    if arg.default is None:
        return ", may be left out"
    default = f"{arg.default:g}" if isinstance(arg.default, float) else str(arg.default)
    return f", {_code(default.lower() if isinstance(arg.default, bool) else default)} if not given"


def _targets() -> Iterator[str]:
    rows = [(_code(_form(kind)), text) for kind, text in TARGETS.items()]
    yield from _table(("target", "what it is"), rows)


def _form(kind: str) -> str:
    """As a file writes it, for zone a."""
    return f"{kind}@a" if kind in GROUPED else f"{kind}[0]" if kind == "probe_target" else kind


def _expectations() -> Iterator[str]:
    yield from _wrapped(
        "The expectation's own key says what it is about. [When an expectation is judged]"
        "(scenarios.md#when-an-expectation-is-judged) says how much time it has. `writes`, `metric`, `alarm`, "
        "`instance`, `log` and `calls` may be written short (`log: fail-over`), with a group where they take one "
        "(`log: a, reason_code: fail-over`), or in full (`log: {reason_code: fail-over}`)."
    )
    rows = [(_code(kind), _subject(kind), _args(EXPECT[kind].args), text) for kind, text in EXPECTATIONS.items()]
    yield from ("", *_table(("expectation", "about", "given with it", "what must be true"), rows))
    yield from ("", "Each may have one clock, and a step that it counts from:", "")
    yield from _table(("key", "meaning"), [(_code(key), text) for key, text in CLOCKS.items()])


def _subject(kind: str) -> str:
    expect = EXPECT[kind]
    about = "" if expect.subject == "none" else f"*{expect.subject}*"
    needs = f"at least one of {' and '.join(map(_code, expect.needs_one_of))}" if expect.needs_one_of else ""
    return "; ".join(filter(None, (about, needs)))


def _values() -> Iterator[str]:
    yield from _table(("kind", "what it may be"), [(f"*{kind}*", text) for kind, text in KINDS.items()])


def _metrics() -> Iterator[str]:
    yield from _table(("metric", "meaning"), [(_code(name), METRICS[name]) for name in METRIC_NAMES])


def _parameters() -> Iterator[str]:
    yield from _wrapped(
        "These parameters of template.yaml may stand under `stack`. The lab makes the network's by itself, and has "
        "shorter times of its own where a file gives none ([scenarios.md](scenarios.md#what---time-scale-n-does))."
    )
    known = template()["Parameters"]
    rows = [
        (_code(name), _code(str(known[name].get("Default", ""))), known[name]["Description"].strip())
        for name in PARAMETERS
    ]
    gateways = ", ".join(map(_code, NAT_GATEWAYS))
    made = f"Give {_code(MADE_BY_THE_LAB)}: the lab makes a NAT gateway in that zone and tells natkeeper of it."
    yield from ("", *_table(("parameter", "default", "meaning"), [*rows, (gateways, "", made)]))


def _times() -> Iterator[str]:
    yield from _wrapped(
        "`natkeeper lab run --aws NAME=SECONDS,…` sets these for the whole run, as the verbs of "
        "[AWS's times](#awss-times) do from their step on."
    )
    yield from ("", *_table(("name", "meaning"), [(_code(name), text) for name, text in TIMES.items()]))


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield _row(head)
    yield "|" + "---|" * len(head)
    yield from (_row([each.replace("|", "\\|") for each in row]) for row in rows)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _wrapped(text: str) -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > WIDTH:
            yield line
            line = ""
        line = f"{line} {word}".strip()
    yield line


def main() -> int:
    """Prints the page."""
    for line in page():
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
