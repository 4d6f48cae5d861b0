#!/usr/bin/env python3
"""Runs the tests of the command and the Python package by pytest. Exit status 77: no pytest here.
   run.py [command|python] [pytest options]      TERN_LIBRARY and TERN_COMMAND say what is tested"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

try:
  import numpy  # noqa: F401
  import pytest
except ImportError as error:
  print(f"skipped: {error}; install tests/models/requirements.txt (tests/models/venv.sh)")
  sys.exit(77)

sys.dont_write_bytecode = True
chosen = [os.path.join(HERE, a) if a in ("command", "python") else a for a in sys.argv[1:]]
if not any(a.startswith(HERE) for a in chosen):
  chosen.append(HERE)
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-W", "ignore::RuntimeWarning", *chosen]))
