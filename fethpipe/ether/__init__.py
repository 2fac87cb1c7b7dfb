"""Ethernet frames and what they contain: pure code."""
