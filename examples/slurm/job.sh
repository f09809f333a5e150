#!/bin/sh
#SBATCH --job-name=linked
#SBATCH --ntasks=1
#SBATCH --time=00:10:00
#SBATCH --signal=B:TERM@60
# An environment for this job, of links into the store that fill.sh has made.
#   sbatch job.sh /shared/wheels requirements.txt program.py
set -eu
# The one that the store was filled under: with another, files are copied.
umask 022

place=$1
requirements=$2
program=$3

environment=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/environment-XXXXXX")
trap 'rm -rf "$environment"' EXIT
trap 'kill $! 2>/dev/null; exit 143' HUP INT TERM

python3 -m venv --without-pip "$environment"
python3 -m pip --python "$environment" install --quiet \
    --no-index --find-links "$place/wheelhouse" \
    --link-mode symlink --link-store "$place/store" \
    --requirement "$requirements"

# A shell looks at signals between programs, or while it waits.
"$environment/bin/python" "$program" &
wait $!
