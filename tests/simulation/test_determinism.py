"""A seed is a schedule, in every process: nothing hangs on the order of hashes, on ids in memory or on the time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 20
TELL = """
import json, sys
from natkeeper_lab.simulation.campaign import play, schedule_of
told = {}
for seed in range(int(sys.argv[1])):
    played = play(schedule_of(seed), is_told=True)
    told[seed] = [*played.story, sorted(played.fires.items()), sorted(played.transitions.items()), played.calls]
print(json.dumps(told))
"""


def test_twenty_seeds_give_the_same_story_in_two_processes_with_different_hashes() -> None:
    def begin(hash_seed: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", TELL, str(SEEDS)]
        return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    one, other = (json.loads(each.communicate(timeout=300)[0]) for each in (begin("1"), begin("4242")))
    assert len(one) == SEEDS
    assert sum(len(each) for each in one.values()) > 1000
    for seed in one:
        assert one[seed] == other[seed], f"seed {seed}"
