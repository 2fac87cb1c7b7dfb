"""The protocol between two peers: pure code, without descriptors, operating system and clock."""
