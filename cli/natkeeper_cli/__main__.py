"""`python -m natkeeper_cli` is `natkeeper`."""

import sys

from natkeeper_cli.main import main

sys.exit(main())
