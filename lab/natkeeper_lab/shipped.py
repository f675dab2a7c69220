"""Where the lab finds what it deploys and sends: the template, the functions' source, and one event of each kind.

In a checkout they are at its top, where people look for them; the wheel has copies beside this module (pyproject.toml).
"""

from __future__ import annotations

from pathlib import Path

COPIES = Path(__file__).with_name("data")
CHECKOUT = Path(__file__).resolve().parents[2]
IS_CHECKOUT = not COPIES.is_dir()
TOP = CHECKOUT if IS_CHECKOUT else COPIES
TEMPLATE = TOP / "template.yaml"
EVENTS = TOP / "events"
SOURCE = TOP / "src"
"""What Lambda gets, with its requirements.txt."""
