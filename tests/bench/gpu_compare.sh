#!/bin/sh
# tern's Vulkan device beside llama.cpp's Vulkan build on a machine with a GPU and no network.
#
#   gpu_compare.sh pack DIR [--tern FILE]      where there is a network: gathers all that the other machine lacks
#   gpu_compare.sh run DIR [--json FILE] [--markdown FILE] [...]      there: measures, in under eight minutes
#
# DIR also holds these scripts then: `sh DIR/gpu_compare.sh run DIR` needs nothing else. More options: run --help.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE
exec python3 "$here/gpu_compare.py" "$@"
