"""The bytes between two peers. Pure: no descriptor, no operating system, no clock."""
