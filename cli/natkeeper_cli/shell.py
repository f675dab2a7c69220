"""`natkeeper lab shell`: a prompt on the private host of zone a; the controller's log appears above it.

A line is run by bash on that host. A line that begins with `:` is a verb of scenario files, such as
`:stop_instance active@a` or `:packet_loss nat@a percent=30`; `:help` lists them. Ctrl-C ends what runs on the host,
Ctrl-D or `exit` the shell, and the VPC with it. Reports in which no probe failed are left out of the log.
"""

from __future__ import annotations

import contextlib
import os
import re
import readline
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from natkeeper_lab.network import WEB

PROMPT = "private-host-a$ "
ALL_WELL = re.compile(r"\] watch report: \w+, \d+ rounds, seen")
HELLO = f"""
You are on the database server: a private host of zone a, whose way out is a NAT instance that natkeeper looks after.
  curl http://{WEB}/           the internet, and the address it sees
  :stop_instance active@a          stop the NAT that carries zone a; then curl again, and read what natkeeper did
  :hang nat@a                      it runs and forwards nothing       :terminate_instance nat@b   or the other one
  :help                            everything that can be done to this VPC
  exit                             (or Ctrl-D) takes it all down
"""
FILE = "name: shell\nwhy: a VPC to play with\nzones: [a, b]\nstack: {QuietPeriod: 20}\ntimeline: []\n"


def play() -> int:
    """Builds the VPC, reads lines until the end, and takes everything down."""
    from natkeeper_lab.narrator import Narrator
    from natkeeper_lab.scenario.file import parse
    from natkeeper_lab.scenario.invariants import Invariants
    from natkeeper_lab.scenario.scene import Scene

    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "shell.yaml")
        file.write_text(FILE)
        print("building a VPC with two zones and switching natkeeper on (about ten seconds) …", flush=True)
        scene = Scene(parse(file), 1.0)
        scene.invariants = Invariants(scene)
        narrator = Narrator(scene.stack, _above)
        try:
            scene.settle()
            print(HELLO, flush=True)
            _prompt(scene)
        finally:
            narrator.close()
            scene.invariants.stop()
            scene.close()
    return 0


def _prompt(scene: object) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    while True:
        try:
            line = input(PROMPT).strip()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            continue
        if line in ("exit", "quit"):
            return
        if line in (":help", ":", "help", "?"):
            _help()
        elif line.startswith(":"):
            _verb(scene, line[1:])
        elif line:
            _bash(scene, line)


def _bash(scene: object, line: str) -> None:
    from natkeeper_lab.scenario.scene import Scene

    assert isinstance(scene, Scene)
    host = scene.stack.groups["a"].host
    process = scene.stack.network.spawn(host, ["bash", "-c", line], stdin=subprocess.DEVNULL)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(3)
        print()
    else:
        if code:
            print(f"exit code {code}")


def _help() -> None:
    """Every verb, as the prompt takes it."""
    from natkeeper_lab.scenario.vocabulary import STEPS

    for name, verb in STEPS.items():
        target = f" {'|'.join(f'{each}@a' for each in verb.targets)}" if verb.needs_target else ""
        args = [f"{key}=…" if arg.is_needed else f"[{key}=…]" for key, arg in verb.args.items()]
        print(f"  :{name}{target} {' '.join(args)}".rstrip())


def _verb(scene: object, line: str) -> None:
    """The step is read as a file would be, so that it is checked as one."""
    from natkeeper_lab.scenario.file import BadScenario, parse
    from natkeeper_lab.scenario.scene import CannotJudge, Scene
    from natkeeper_lab.scenario.verbs import take

    assert isinstance(scene, Scene)
    words = shlex.split(line)
    given = [f"do: {words[0]}" if words else "do: nothing"]
    given += [word.replace("=", ": ", 1) if "=" in word else f"target: {word}" for word in words[1:]]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "step.yaml")
        file.write_text(FILE.replace("timeline: []", f"timeline: [{{at: 0, {', '.join(given)}}}]"))
        try:
            take(scene.hands, parse(file).timeline[0])
        except BadScenario as problem:
            print(problem.problem)
        except CannotJudge as problem:
            print(problem)


def _above(line: str) -> None:
    """A line of the log, above the prompt and what has been typed so far."""
    if ALL_WELL.search(line):
        return
    if not sys.stdout.isatty():
        print(line, flush=True)
        return
    sys.stdout.write(f"\r\033[K{line}\n{PROMPT}{readline.get_line_buffer()}")
    sys.stdout.flush()
