"""Run this program on another host, over the user's own ssh, with nothing installed there."""
