"""The benchmark's packets: events played again and again in one lab, by natkeeper and by the baseline, with figures.

`tools/bench.py` and tests call it. Runs inside `sandbox` only.
"""
