"""Start the other end on this Mac as ssh would, and see both ends ready: far.py SSH."""

from __future__ import annotations

import sys

from ends import started


def main() -> None:
    """Start both ends, and stop the near one."""
    options = ("--ssh-command", sys.argv[1], "--ssh", "root@this-mac", "--remote", "--unit 21106")
    with started("--unit", "21105", *options) as end:
        print(end.ready())
        end.wait_for("remote: feth21106 is up")
        status = end.stop()
        print(end.said())
    if status != 0:
        sys.exit(f"it ended with {status}")


if __name__ == "__main__":
    main()
