#!/bin/sh
# Creates or updates the Python environment of the oracles in ${TERN_MODEL_CACHE:-~/.cache/tern}/venv and prints
# its path. Costs no network when requirements.txt is already installed.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
VENV=${TERN_MODEL_CACHE:-$HOME/.cache/tern}/venv
STAMP=$VENV/.requirements.installed
if ! cmp -s "$HERE/requirements.txt" "$STAMP"; then
  [ -x "$VENV/bin/python" ] || python3 -m venv "$VENV"
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r "$HERE/requirements.txt"
  cp "$HERE/requirements.txt" "$STAMP"
fi
echo "$VENV"
