"""How much may be on the way, and which frame goes next. Pure: the clock is an argument."""
