"""The keeper, the one process that stays root, and how the pump talks to it."""
