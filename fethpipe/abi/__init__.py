"""The bytes between this program and the kernels: numbers and layouts as plain data.

Pure, so that each system's module can be imported and tested on any system.
"""
