"""Scenario files on virtual time: the lab's own parser, clocks and looks, held against a simulated world.

`run.run` is the command's; `stage.Stage` is what the lab's looks see instead of namespaces.
"""
