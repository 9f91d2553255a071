"""The commands for a daemon that runs: add, classify, train, watch, status, export, import, undo.

Results go to standard output, everything else to standard error.
"""

from service.commands.table import add_commands

__all__ = ["add_commands"]
