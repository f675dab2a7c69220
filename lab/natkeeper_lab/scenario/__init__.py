"""Scenario files: what a VPC looks like, what happens to it, what must then be true. See docs/scenarios.md."""
