#!/bin/bash
# On the first of two machines: docs/scale/torchrun.sh 0 FIRST-MACHINE, on the second: docs/scale/torchrun.sh 1
# FIRST-MACHINE. What follows are options of fit.
set -eu
machines=${MACHINES:-2} processes=${PROCESSES:-2}
number=$1 first=$2
shift 2

export OMP_NUM_THREADS=1
# all processes together have the 256 samples a step of configs/default.yaml
exec "${PYTHON:-.venv/bin/python}" -m torch.distributed.run --nnodes "$machines" --node_rank "$number" \
    --nproc_per_node "$processes" --master_addr "$first" --master_port "${PORT:-29500}" --max_restarts 3 \
    -m lenet_lightning fit --config configs/default.yaml --data.batch_size $((256 / (machines * processes))) \
    --trainer.accelerator cpu --trainer.num_nodes "$machines" --trainer.devices "$processes" "$@"
