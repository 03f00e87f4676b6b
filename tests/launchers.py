"""The environments that torchrun and srun give to the processes that they start, for ranks that are forked."""

from __future__ import annotations

import socket


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _where_they_meet() -> dict[str, object]:
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "GLOO_SOCKET_IFNAME": "lo"}


def of_torchrun(nodes: int, ranks: int) -> list[dict[str, object]]:
    """The environment of each rank on so many nodes, of so many ranks each."""
    common = {
        "TORCHELASTIC_RUN_ID": "here",
        "TORCHELASTIC_RESTART_COUNT": 0,
        "WORLD_SIZE": nodes * ranks,
        "LOCAL_WORLD_SIZE": ranks,
        "GROUP_WORLD_SIZE": nodes,
        **_where_they_meet(),
    }
    return [_with_place(common, ("RANK", "LOCAL_RANK", "GROUP_RANK"), rank, ranks) for rank in range(nodes * ranks)]


def of_srun(nodes: int, ranks: int, **more: object) -> list[dict[str, object]]:
    """The environment of each task on so many nodes, of so many tasks each, and `more`."""
    common = {
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "sapiens",
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": nodes * ranks,
        "SLURM_NNODES": nodes,
        "SLURM_NTASKS_PER_NODE": ranks,
        "SLURM_NODELIST": "localhost",
        **_where_they_meet(),
        **more,
    }
    names = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
    return [_with_place(common, names, rank, ranks) for rank in range(nodes * ranks)]


def _with_place(common: dict[str, object], names: tuple[str, str, str], rank: int, ranks: int) -> dict[str, object]:
    return common | dict(zip(names, (rank, rank % ranks, rank // ranks)))
