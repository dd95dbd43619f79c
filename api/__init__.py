"""Delivery: the command line, the services, the demonstration, the audit, and the set-up of a federation."""

import sys
from pathlib import Path

import rbcl  # noqa: F401  # loads its library

# rbcl unpacks its library into a new temporary file at every start, and leaves it there: loaded, it needs no name.
Path(sys.modules["rbcl._sodium"].lib_path).unlink(missing_ok=True)
