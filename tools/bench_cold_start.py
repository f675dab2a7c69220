"""Measures cold starts in fresh processes: bare boto3 clients, the controller, the prober.

Called by `make bench`. From the instant a process is spawned until what Lambda's init phase would have done is done:
imports and clients made, handler ready. Each row is a median of several runs, and the rows take turns, so that a busy
moment of the machine spoils one run of each instead of all runs of one.

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
"""Times the bare clients; from issue 2, like the prober's limit."""
PROBER_LIMIT_MS = 150.0

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


def milliseconds_until_ready(code: str, source: Path) -> float:
    """One fresh process. CalledProcessError when the code fails. Both clocks are CLOCK_MONOTONIC, one per machine."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ},
        **AWS_ENVIRONMENT,
        **CONTROLLER_ENVIRONMENT,
        "PYTHONPATH": str(source),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport time; print(time.monotonic())"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return (float(done.stdout.split()[-1]) - began) * 1000


def measure(runs: int = RUNS) -> dict[str, Any]:
    """Medians in milliseconds by row, ratios to the bare clients, and whether the limits hold; a row that cannot be
    measured yet is None."""
    has_controller = all((SOURCE / "natkeeper" / name).exists() for name in ("wiring.py", "handlers/controller.py"))
    with tempfile.TemporaryDirectory() as folder:
        for name in ("shipped", "compiled"):
            shutil.copytree(SOURCE, Path(folder, name), ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(Path(folder, "compiled"))], check=True)
        rows = {"python alone": ("pass", "compiled"), "boto3 ec2 + dynamodb": (BARE, "compiled")}
        for name, code in (("controller", CONTROLLER), ("prober", PROBER)):
            if name == "prober" or has_controller:
                rows |= {name: (code, "compiled"), f"{name}, no .pyc": (code, "shipped")}
        samples: dict[str, list[float]] = {name: [] for name in rows}
        for run in range(runs + 1):
            for name, (code, copy) in rows.items():
                sample = milliseconds_until_ready(code, Path(folder, copy))
                if run:  # the first turn warms the page cache
                    samples[name].append(sample)
    medians: dict[str, float | None] = {name: round(statistics.median(found), 1) for name, found in samples.items()}
    if not has_controller:
        medians["controller"] = None
    return judged(medians)


def judged(medians: dict[str, float | None]) -> dict[str, Any]:
    bare = medians["boto3 ec2 + dynamodb"] or 1.0
    ratios = {name: None if value is None else round(value / bare, 2) for name, value in medians.items()}
    controller = ratios["controller"]
    return {
        "median_ms": medians,
        "ratio_to_bare_clients": ratios,
        "controller_within_limit": None if controller is None else controller <= CONTROLLER_LIMIT,
        "prober_within_limit": (medians["prober"] or 0.0) <= PROBER_LIMIT_MS,
    }


def print_table(result: dict[str, Any]) -> None:
    print(f"{'cold start, fresh process':<28}{'median ms':>10}{'x bare clients':>16}")
    for name, value in result["median_ms"].items():
        ratio = result["ratio_to_bare_clients"][name]
        print(f"{name:<28}" + ("   not built yet, skipped" if value is None else f"{value:>10.1f}{ratio:>16.2f}"))
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
    return 0 if result["prober_within_limit"] and result["controller_within_limit"] is not False else 1


if __name__ == "__main__":
    sys.exit(main())
