"""``--selftest``: show on this machine that frames pass, and check facts about its kernel."""
