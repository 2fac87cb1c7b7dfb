"""How long tests wait for what they expect."""

PATIENCE = 30.0
"""Seconds after which what should take milliseconds has failed, also on a machine that is busy."""
