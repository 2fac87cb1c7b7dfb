"""Manage network interfaces: address, MTU, MAC, up. What differs by system is in its module."""
