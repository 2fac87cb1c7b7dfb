"""The version of the program, for those who must not load the library to tell it."""

__version__ = "0.1.0"
