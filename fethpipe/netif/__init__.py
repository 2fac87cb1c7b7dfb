"""Manage network interfaces: addresses, MTU, MAC, up and down. Each system has its own module.

Everywhere here MTUs are in bytes without the Ethernet header, and MACs are 6 bytes as on the wire.
"""
