"""`python -m cli` is `natkeeper`."""

import sys

from cli.main import main

sys.exit(main())
