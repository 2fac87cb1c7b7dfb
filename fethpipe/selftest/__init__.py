"""``--selftest``: show on this machine that frames pass, and which facts of its kernel hold."""
