"""`natkeeper lab shell`: a prompt on the private host of zone a; the controller's log appears above it.

A line is run by bash on that host. A line that begins with `:` is a verb of scenario files, such as
`:stop_instance active@a` or `:packet_loss nat@a percent=30`. Ctrl-D or `exit` ends it, and the VPC with it.
"""

from __future__ import annotations

import contextlib
import readline
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.network import WEB

PROMPT = "private-host-a$ "
FILE = "name: shell\nwhy: a VPC to play with\nzones: [a, b]\nstack: {QuietPeriod: 20}\ntimeline: []\n"


def play() -> int:
    """Builds the VPC, reads lines until the end, and takes everything down."""
    from lab.narrator import Narrator
    from lab.scenario.file import parse
    from lab.scenario.invariants import Invariants
    from lab.scenario.scene import Scene

    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "shell.yaml")
        file.write_text(FILE)
        print("building a VPC with two zones …", flush=True)
        scene = Scene(parse(file), 1.0)
        scene.invariants = Invariants(scene)
        narrator = Narrator(scene.stack, _above)
        try:
            scene.settle()
            _above(f"ready. Try: curl http://{WEB}/   then  :stop_instance active@a   and curl again. Ctrl-D ends.")
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
        if line.startswith(":"):
            _verb(scene, line[1:])
        elif line:
            _bash(scene, line)


def _bash(scene: object, line: str) -> None:
    from lab.scenario.scene import Scene

    assert isinstance(scene, Scene)
    host = scene.stack.groups["a"].host
    process = scene.stack.network.spawn(host, ["bash", "-c", line], stdin=subprocess.DEVNULL)
    try:
        process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(3)


def _verb(scene: object, line: str) -> None:
    """The step is read as a file would be, so that it is checked as one."""
    from lab.scenario.file import BadScenario, parse
    from lab.scenario.scene import CannotJudge, Scene
    from lab.scenario.steps import take

    assert isinstance(scene, Scene)
    words = shlex.split(line)
    given = [f"do: {words[0]}" if words else "do: nothing"]
    given += [word.replace("=", ": ", 1) if "=" in word else f"target: {word}" for word in words[1:]]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "step.yaml")
        file.write_text(FILE.replace("timeline: []", f"timeline: [{{at: 0, {', '.join(given)}}}]"))
        try:
            take(scene, parse(file).timeline[0])
        except BadScenario as problem:
            print(problem.problem)
        except CannotJudge as problem:
            print(problem)


def _above(line: str) -> None:
    """A line of the log, above the prompt and what has been typed so far."""
    if not sys.stdout.isatty():
        print(line, flush=True)
        return
    sys.stdout.write(f"\r\033[K{line}\n{PROMPT}{readline.get_line_buffer()}")
    sys.stdout.flush()
