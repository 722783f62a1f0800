#!/bin/bash
# Five seeds, each trained by four processes on two machines: sbatch docs/scale/slurm.sh, in the checkout. What follows
# are options of fit.
#SBATCH --job-name=lenet
#SBATCH --array=1-5
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=2G
#SBATCH --time=00:30:00
#SBATCH --signal=USR1@90
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%A_%a.out

export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
# all processes together have the 256 samples a step of configs/default.yaml
srun --kill-on-bad-exit=1 "${PYTHON:-.venv/bin/python}" -m lenet_lightning fit --config configs/default.yaml \
    --seed_everything "$SLURM_ARRAY_TASK_ID" --data.batch_size $((256 / SLURM_NTASKS)) --trainer.accelerator cpu \
    --trainer.num_nodes "$SLURM_JOB_NUM_NODES" --trainer.devices "$SLURM_NTASKS_PER_NODE" "$@"
