"""A fact about routes (bsd/net/rtsock.c): one that leads to a feth can be added and deleted."""

from __future__ import annotations

import errno
import os
import socket
from functools import partial
from ipaddress import IPv4Interface, IPv4Network

from ..abi.darwin import AF_ROUTE, RTM_ADD, RTM_DELETE, pack_route
from .pairs import ADDRESS, refused
from .report import Report

_NETWORK = IPv4Network("192.0.2.0/25")  # for documentation (RFC 5737), so nobody's
_GATEWAY = IPv4Interface(ADDRESS).network[2]


def check_route(report: Report) -> None:
    """Check the fact. The route goes with the interface, if we should not come to delete it."""
    report.check("route", "a route through a feth is added once, and deleted once", _look)


def _look() -> str:
    with socket.socket(AF_ROUTE, socket.SOCK_RAW, 0) as routes:
        routes.shutdown(socket.SHUT_RD)  # the kernel would tell us of every route
        _ask(routes, RTM_ADD)
        refused(partial(_ask, routes, RTM_ADD), errno.EEXIST)
        _ask(routes, RTM_DELETE)
        refused(partial(_ask, routes, RTM_DELETE), errno.ESRCH)
    return ""


def _ask(routes: socket.socket, kind: int) -> None:
    os.write(routes.fileno(), pack_route(kind, _NETWORK, _GATEWAY))
