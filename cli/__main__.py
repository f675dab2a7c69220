"""`python -m cli` is `natkeeper`, in a checkout that is not installed too."""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("natkeeper") is None:
    sys.path.append(str(Path(__file__).resolve().parents[1] / "src"))

from cli.main import main

sys.exit(main())
