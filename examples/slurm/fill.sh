#!/bin/sh
# Run by whoever looks after the software, on a node that reaches an index.
#   ./fill.sh /shared/wheels requirements.txt
# Wheels stay beside the store, because pip wants to see them: jobs have no network.
set -eu

# Others are to read it.
umask 022
mkdir -p "$1/wheelhouse"
place=$(cd "$1" && pwd)
requirements=$2

python3 -m pip wheel --wheel-dir "$place/wheelhouse" --requirement "$requirements"
python3 -m pip_linkmode fill --link-store "$place/store" "$place/wheelhouse"
