#!/bin/sh
#SBATCH --job-name=linked
#SBATCH --ntasks=1
#SBATCH --time=00:10:00
# An environment for this job, of links into the store that fill.sh has made.
#   sbatch job.sh /shared/wheels requirements.txt program.py
set -eu

place=$1
requirements=$2
program=$3

environment=${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/environment-${SLURM_JOB_ID:-$$}
trap 'rm -rf "$environment"' EXIT

python3 -m venv --without-pip "$environment"
python3 -m pip --python "$environment" install --quiet \
    --no-index --find-links "$place/wheelhouse" \
    --link-mode symlink --link-store "$place/store" \
    --requirement "$requirements"

"$environment/bin/python" "$program"
