"""Make a device, or attach to an existing one, and configure it: the part that needs root.

The result is facts and descriptors. A process that has them can move frames without root, and
without this code. Each kind of device has its own module.
"""
