"""fethpipe: shuttle Ethernet frames between a virtual Ethernet device and a pipe."""

__version__ = "0.1.0"
