"""Measures cold starts in fresh processes: bare boto3 clients, the controller, the prober.

Called by `make bench`. From the instant a process is spawned until what Lambda's init phase would have done is done:
imports and clients made, handler ready. The rows take turns, so that a busy moment of the machine spoils one run of
each instead of all runs of one.

Lambda runs our code without `.pyc` files (`sam build` ships none and /var/task is read-only), boto3 with them. So ours
is measured both ways: from a copy without `.pyc`, and compiled.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1] / "src"
RUNS = 7
CONTROLLER_LIMIT = 1.4
"""Times the bare clients. This limit and the prober's are goals of ours."""
PROBER_LIMIT_MS = 150.0

BARE_ROW = "boto3 ec2 + dynamodb"
BARE = 'import boto3; boto3.client("ec2"); boto3.client("dynamodb")'
CONTROLLER = "import natkeeper.wiring, natkeeper.handlers.controller"
PROBER = "import natkeeper.handlers.prober"

AWS_ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "example",
    "AWS_SECRET_ACCESS_KEY": "example",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""As Lambda sets it, with values that open nothing. Without, botocore would ask the instance metadata service."""


def group(number: int, zone: str) -> str:
    """One zone's settings, as template.yaml writes them."""
    return json.dumps(
        {
            "tables": f"rtb-{number:017x}",
            "cidr": f"10.0.{2 * number}.0/24",
            "subnet": f"subnet-{number:017x}",
            "private": f"subnet-{number:017x}",
            "allocation": f"eipalloc-{number:017x}",
            "address": f"198.51.100.{number}",
            "prober": f"prober-{zone}",
            "gateway": "",
        }
    )


CONTROLLER_ENVIRONMENT = {
    "NATKEEPER_STACK": "bench",
    "NATKEEPER_VPC_ID": "vpc-0123456789abcdef0",
    "NATKEEPER_GROUP_A": group(1, "a"),
    "NATKEEPER_GROUP_B": group(2, "b"),
    "NATKEEPER_GROUP_C": group(3, "c"),
    "NATKEEPER_LAUNCH_TEMPLATE": "lt-0123456789abcdef0",
    "NATKEEPER_LAUNCH_TEMPLATE_VERSION": "1",
    "NATKEEPER_SECURITY_GROUP": "sg-0123456789abcdef0",
    "NATKEEPER_INSTANCE_PROFILE": "arn:aws:iam::123456789012:instance-profile/nat",
    "NATKEEPER_INSTANCE_TYPES": "t4g.nano,t4g.micro",
    "NATKEEPER_EGRESS_PROFILE": "all",
    "NATKEEPER_CANARY_ADDRESS": "1.0.0.1",
    "NATKEEPER_LEDGER": "bench-ledger",
    "NATKEEPER_TOPIC": "arn:aws:sns:us-east-1:123456789012:bench",
    "NATKEEPER_PROBE_TARGETS": "tcp://192.0.2.1:443,tcp://198.51.100.1:443,https://203.0.113.1/",
    "NATKEEPER_STANDBY": "none",
    "POWERTOOLS_METRICS_NAMESPACE": "natkeeper",
}
"""What the controller reads at cold start: the widest case, three zones."""


def milliseconds_until_ready(code: str, source: Path) -> tuple[float, float]:
    """One fresh process: on the clock, and of processor time. CalledProcessError when the code fails."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ},
        **AWS_ENVIRONMENT,
        **CONTROLLER_ENVIRONMENT,
        "PYTHONPATH": str(source),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport time; print(time.monotonic(), time.process_time())"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    ready, worked = map(float, done.stdout.split()[-2:])
    return (ready - began) * 1000, worked * 1000  # CLOCK_MONOTONIC is one for the whole machine


def measure(runs: int = RUNS) -> dict[str, Any]:
    """Milliseconds by row, ratios to the bare clients, and whether the limits hold."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("shipped", "compiled"):
            shutil.copytree(SOURCE, Path(folder, name), ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(Path(folder, "compiled"))], check=True)
        rows = {"python alone": ("pass", "compiled"), BARE_ROW: (BARE, "compiled")}
        for name, code in (("controller", CONTROLLER), ("prober", PROBER)):
            rows |= {name: (code, "compiled"), f"{name}, no .pyc": (code, "shipped")}
        samples: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
        for run in range(runs + 1):
            for name, (code, copy) in rows.items():
                sample = milliseconds_until_ready(code, Path(folder, copy))
                if run:  # the first turn warms the page cache
                    samples[name].append(sample)
    return judged(samples)


def judged(samples: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    """The ratio is of processor time, which is what a start consists of and what other processes of a busy machine
    cannot add to; on an idle one it is the ratio of the clock. The prober's limit is on the clock, for its fastest run.
    """
    medians = {name: round(statistics.median(wall for wall, _ in found), 1) for name, found in samples.items()}
    fastest = {name: round(min(wall for wall, _ in found), 1) for name, found in samples.items()}
    worked = {name: round(statistics.median(cpu for _, cpu in found), 1) for name, found in samples.items()}
    ratios = {name: round(value / worked[BARE_ROW], 2) for name, value in worked.items()}
    return {
        "median_ms": medians,
        "fastest_ms": fastest,
        "processor_ms": worked,
        "ratio_to_bare_clients": ratios,
        "controller_within_limit": ratios["controller"] <= CONTROLLER_LIMIT,
        "prober_within_limit": fastest["prober"] <= PROBER_LIMIT_MS,
    }


COLUMNS = ("median_ms", "fastest_ms", "processor_ms")


def print_table(result: dict[str, Any]) -> None:
    heads = "".join(f"{each.replace('_', ' '):>14}" for each in COLUMNS)
    print(f"{'cold start, fresh process':<27}{heads}{'x bare':>8}")
    for name, ratio in result["ratio_to_bare_clients"].items():
        print(f"{name:<27}{''.join(f'{result[each][name]:>14.1f}' for each in COLUMNS)}{ratio:>8.2f}")
    print(f"limits: controller {CONTROLLER_LIMIT} x bare clients, prober {PROBER_LIMIT_MS:.0f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs per row (default {RUNS})")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    result = measure(options.runs)
    print_table(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if result["prober_within_limit"] and result["controller_within_limit"] else 1


if __name__ == "__main__":
    sys.exit(main())
