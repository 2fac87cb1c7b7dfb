"""``fethctl``: manage, inspect and try Ethernet interfaces by hand."""
