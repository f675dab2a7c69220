"""`python -m natkeeper_lab.report RECORD.json OUT.html`: exit 0, or 2 and why the record cannot be read."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from natkeeper_lab.report import write


def main(arguments: list[str] | None = None) -> int:
    """Reads a record, writes its page."""
    parser = argparse.ArgumentParser(
        prog="python -m natkeeper_lab.report", description="Turns a run's record into an HTML file."
    )
    parser.add_argument("record", type=Path, help="the JSON that a run wrote")
    parser.add_argument("out", type=Path, help="the HTML file to write")
    given = parser.parse_args(arguments)
    try:
        record = json.loads(given.record.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError(f"expected a JSON object, found {type(record).__name__}")
        write(record, given.out)
    except (OSError, ValueError) as problem:
        print(f"{given.record}: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
