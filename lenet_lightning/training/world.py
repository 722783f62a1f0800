"""The processes of one training: whether those that a launcher started are those that the trainer counts."""

import os

from lenet_lightning.errors import UsageError

# rank and number of processes, as torchrun, srun, jsrun and mpirun set them
LAUNCHED = (
    ("RANK", "WORLD_SIZE"),
    ("LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
)


def check(world_size: int) -> None:
    """Refuse to be one process of a launcher's many while training alone: each would train everything.

    Args:
        world_size: the number of processes that the trainer counts.

    Raises:
        UsageError: the environment names another rank or number of processes.
    """
    for rank, size in LAUNCHED:
        number, many = os.environ.get(rank, ""), os.environ.get(size, "")
        alone = world_size == 1 and number.isdecimal() and int(number) > 0
        if alone or (many.isdecimal() and int(many) > 1 and world_size == 1):
            launched = f"{rank}={number or 'unset'}, {size}={many or 'unset'}"
            raise UsageError(
                f"trainer.devices x num_nodes must be the number of processes that were launched ({launched}), got 1; "
                "pass --trainer.devices with those of one machine and --trainer.num_nodes, or unset these variables"
            )
