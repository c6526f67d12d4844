"""The command line, called in this process."""

from tests.cli.conftest import call, in_process

__all__ = ["call", "in_process"]
