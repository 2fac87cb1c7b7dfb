"""Ethernet frames, and what is in them: pure code."""
