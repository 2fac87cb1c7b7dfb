"""The binary interfaces of the kernels: numbers and layouts as plain data.

It is pure code, so the module of each system can be imported and tested on any system.
"""
