"""Services of the operating system, one for each module."""
