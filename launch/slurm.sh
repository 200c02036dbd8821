#!/usr/bin/env bash
# Train on a SLURM cluster, eight machines of eight GPUs, in as many turns as it takes:
#
#   sbatch launch/slurm.sh --recipe larsen2016 --dataset cifar10 --output-dir runs/cifar10-64
#
# Options behind the script are those of launch/train.py; --output-dir is needed, on a file system
# that all machines share. Other sizes and limits go before the script: sbatch --nodes 2 ...
#
# Two minutes before the time limit every process gets SIGUSR1. The trainer then finishes its step,
# saves and leaves with exit code 75 ("try again"); so it does on SIGTERM, which comes before a
# preemption. On 75 the job goes back into the queue, and its next turn resumes. Every other exit
# code is the job's own.
#SBATCH --job-name=vaegan
#SBATCH --nodes=8
#SBATCH --gpus-per-node=8
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=vaegan-%j.log

set -u
cd "${SLURM_SUBMIT_DIR:-.}" || exit 2

run=
previous=
for word in "$@"; do
  case $word in
    --resume | --auto-resume)
      echo "slurm.sh: error: leave $word out: the script itself resumes where there is a run." >&2
      exit 2
      ;;
    --output-dir=* | --output_dir=*) run=${word#*=} ;;
  esac
  case $previous in
    --output-dir | --output_dir) run=$word ;;
  esac
  previous=$word
done
if [ -z "$run" ]; then
  echo "slurm.sh: error: give --output-dir DIR, the folder by which a requeued job finds its run." >&2
  exit 2
fi
# Decided here, once: later, the first process has already written into the folder.
if [ -f "$run/config.json" ]; then
  set -- "$@" --resume
fi

MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000)) # jobs that share a machine need one each
export MASTER_ADDR MASTER_PORT WORLD_SIZE="$SLURM_NTASKS"

# One task is one process on one GPU, without a launcher: accelerate launch and torchrun end on the
# signal themselves, and make every exit code 1. SLURM_* are each task's own. When a process ends,
# the others continue, since one may still be saving. Two minutes later they are ended, so that a job
# does not wait for a process that has died.
# shellcheck disable=SC2016
srun --kill-on-bad-exit=0 --wait=120 bash -c '
  export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID
  export LOCAL_WORLD_SIZE=$((SLURM_NTASKS / SLURM_JOB_NUM_NODES))
  exec python launch/train.py "$@"
' train "$@"
code=$?

if [ "$code" -eq 75 ]; then
  echo "slurm.sh: saved before the end of its time: job $SLURM_JOB_ID goes back into the queue."
  scontrol requeue "$SLURM_JOB_ID" || exit "$code"
fi
exit "$code"
