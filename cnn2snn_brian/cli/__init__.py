"""
The command line, a file for each command or two.

A command is a function: its arguments are the options, its docstring is their help.
What takes long to import (torch, Brian2 and all that computes) is imported when a
command runs, so that ``--help`` answers at once.
"""

from cnn2snn_brian.cli.app import app, main

__all__ = ["app", "main"]
