"""The version of the program, in a module that does not import the library."""

__version__ = "0.1.0"
