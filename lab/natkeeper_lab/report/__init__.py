"""One self-contained HTML file per run of the lab: what was done, what was seen, and whether it held.

`render` turns a run's record into a page, `write` puts it into a file; `python -m natkeeper_lab.report RECORD.json
OUT.html` does both. The page loads nothing: style and script are inside, and a content security policy allows only
these two.
"""

from natkeeper_lab.report.page import render, write

__all__ = ["render", "write"]
