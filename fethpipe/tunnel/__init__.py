"""The way of a frame between a device and a stream."""
