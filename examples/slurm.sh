#!/bin/sh
# Pass one as a Slurm job array: 16 tasks, each a sixteenth of the pictures, into one cache that all nodes see.
# usage: sbatch slurm.sh IMAGE_DIR CACHE_DIR; then, on one node: retrain train IMAGE_DIR --cache-dir CACHE_DIR
# A task that failed is run again alone: sbatch --array=3 slurm.sh IMAGE_DIR CACHE_DIR
#SBATCH --job-name=retrain
#SBATCH --array=1-16
#SBATCH --cpus-per-task=8
#SBATCH --mem=8G
#SBATCH --requeue
set -eu

# 16, not $SLURM_ARRAY_TASK_COUNT: the number of parts stays the same where some tasks are run again
srun retrain extract "$1" --cache-dir "$2" --shard "$SLURM_ARRAY_TASK_ID/16"
