"""Each touch of Lightning's insides, in one process: what breaks without it. (`test_ranks.py`: whole runs.)"""

from __future__ import annotations

import multiprocessing
import os
from datetime import timedelta

import lightning as L
import pytest
import torch
from composed import composed
from lightning.fabric.utilities import rank_zero as of_fabric
from lightning.pytorch.overrides.distributed import _sync_module_states
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from torch import nn
from torch.utils.data import DataLoader

from sapiens_pl.run.ranks import (
    RUN_ID,
    IndependentRanks,
    RankLauncher,
    are_independent,
    as_first_rank_finds,
    build_trainer,
    forget_started_ranks,
    go_on_from,
    keep_weights_apart,
    own_rank,
    ranks_started_by,
)

VARIABLES = ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "WORLD_SIZE", RUN_ID)


@pytest.fixture(autouse=True)
def as_before():
    """What Lightning keeps in the process, put back."""
    variables, ranks, threads = (
        dict(os.environ),
        (rank_zero_only.rank, of_fabric.rank_zero_only.rank),
        torch.get_num_threads(),
    )
    for name in VARIABLES:
        os.environ.pop(name, None)
    yield
    os.environ.clear()
    os.environ.update(variables)
    rank_zero_only.rank, of_fabric.rank_zero_only.rank = ranks
    torch.set_num_threads(threads)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class Doubling(L.LightningModule):
    """Says which rank has seen which numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.seen = nn.Linear(1, 1), []

    def predict_step(self, batch, batch_idx=0):
        self.seen.append((own_rank(), self.trainer.world_size, batch.flatten().tolist()))


def trainer_of(*overrides, callbacks=()):
    return build_trainer(composed("predict", ["trainer.accelerator=cpu", *overrides]), list(callbacks))


def test_a_rank_works_through_its_share_though_no_other_is_there():
    # With DDP's group, its exchange of weights or its wrapper, rank 1 would wait for rank 0, or fail for want of it.
    os.environ["LOCAL_RANK"] = "1"
    strategy = IndependentRanks(timeout=timedelta(seconds=5))
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=strategy,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        **options,
    )
    module = Doubling()
    trainer.predict(module, DataLoader(torch.arange(3.0).reshape(3, 1), batch_size=2), return_predictions=False)
    assert module.seen == [(1, 2, [0.0, 1.0]), (1, 2, [2.0])]
    assert not torch.distributed.is_initialized() and isinstance(trainer.strategy.model, Doubling)


def test_the_cores_of_a_machine_are_shared_by_its_ranks():
    os.environ.pop("OMP_NUM_THREADS", None)
    os.environ["LOCAL_RANK"] = "0"
    torch.set_num_threads(4)
    assert RankLauncher(LightningEnvironment(), 2, 1).launch(torch.get_num_threads) == 2
    os.environ["OMP_NUM_THREADS"] = "3"  # somebody has decided
    assert RankLauncher(LightningEnvironment(), 2, 1).launch(torch.get_num_threads) == 2


@pytest.mark.parametrize(
    ("overrides", "variables", "independent"),
    [
        (["trainer.devices=2"], {}, True),
        (["trainer.devices=2", "trainer.strategy=ddp"], {}, True),
        (["trainer.devices=2"], {"LOCAL_RANK": "1", RUN_ID: "7-x"}, True),  # the first rank has started this one
        (["trainer.devices=1"], {}, False),
        (["trainer.devices=2"], {"LOCAL_RANK": "1"}, False),  # somebody else has
        (["trainer.devices=2", "trainer.strategy=ddp_spawn"], {}, False),
        (["trainer.devices=1", "trainer.num_nodes=2", "trainer.strategy=ddp"], {}, False),
    ],
)
def test_only_ranks_that_lightning_starts_on_one_machine_are_independent(overrides, variables, independent):
    os.environ.update(variables)
    assert are_independent(trainer_of(*overrides)) == independent


def test_a_next_run_in_the_same_process_starts_ranks_of_its_own():
    os.environ["LOCAL_RANK"] = "0"  # as Lightning leaves it when it has started ranks
    assert not are_independent(trainer_of("trainer.devices=2"))
    forget_started_ranks()
    trainer = trainer_of("trainer.devices=2")
    assert are_independent(trainer) and ranks_started_by(trainer)() == []


def test_lightning_shows_no_bar_beside_the_runs_own():
    trainer = trainer_of("trainer.devices=1", "trainer.enable_progress_bar=true")
    assert trainer.progress_bar_callback is None


def test_weights_are_not_sent_from_rank_to_rank():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    module = Doubling()
    module.register_buffer("buffer", torch.eye(2).to_sparse())  # which cannot be sent
    with pytest.raises((RuntimeError, NotImplementedError)):
        _sync_module_states(module)
    _sync_module_states(keep_weights_apart(module))


@pytest.mark.parametrize(
    ("overrides", "variables", "expected"),
    [
        (["trainer.devices=1"], {}, (True, 1)),
        (["trainer.devices=2"], {}, (True, 1)),  # and the other rank is not started
        (["trainer.devices=2"], {"LOCAL_RANK": "1", RUN_ID: "7-x"}, (False, 0)),  # it was started: something is left
        (["trainer.devices=2", "trainer.strategy=ddp_spawn"], {}, (False, 0)),
    ],
)
def test_the_first_rank_looks_before_there_are_others(overrides, variables, expected):
    os.environ.update(variables)
    looks = []
    found = as_first_rank_finds(trainer_of(*overrides), lambda: not looks.append(1))
    assert (found, len(looks)) == expected


def _look_of_rank(rank: int, port: int, answers) -> None:
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo", TORCHELASTIC_RUN_ID="x", RANK=str(rank)
    )
    os.environ.update(WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", LOCAL_RANK=str(rank), GROUP_RANK="0")
    answers.put((rank, as_first_rank_finds(trainer_of("trainer.devices=2", "trainer.strategy=ddp"), lambda: rank == 0)))


@pytest.mark.slow
def test_ranks_that_torchrun_has_started_all_hear_what_the_first_one_finds():
    from launchers import free_port

    fork = multiprocessing.get_context("fork")
    port, answers = free_port(), fork.Queue()
    ranks = [fork.Process(target=_look_of_rank, args=(rank, port, answers)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    found = dict(answers.get(timeout=60) for _ in ranks)
    for process in ranks:
        process.join(60)
        process.kill()
    assert found == {0: True, 1: True}  # the second one, asked alone, would have said no


def _second_pass_of_rank(rank: int, port: int, released) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    store = torch.distributed.TCPStore("127.0.0.1", port, 2, rank == 0, timeout=timedelta(seconds=60))
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    trainer = L.Trainer.__new__(L.Trainer)  # for its strategy and number of ranks
    strategy = DDPStrategy(parallel_devices=[torch.device("cpu")] * 2)
    trainer._accelerator_connector = type("Connector", (), {"strategy": strategy})()
    strategy.cluster_environment = type("Environment", (), {"world_size": lambda self: 2})()
    go_on_from(trainer)
    if rank == 0:
        released.wait(60)  # it is still at its first pass
    strategy.barrier("pre_setup")
    assert strategy.broadcast("mine") == "mine"
    os._exit(0)


def test_a_rank_that_has_ended_its_first_pass_does_not_wait_for_the_others():
    from launchers import free_port

    fork = multiprocessing.get_context("fork")
    port, released = free_port(), fork.Event()
    ranks = [fork.Process(target=_second_pass_of_rank, args=(rank, port, released)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    ranks[1].join(60)
    first = ranks[0].exitcode, ranks[1].exitcode
    released.set()
    ranks[0].join(60)
    for process in ranks:
        process.kill()
    assert first == (None, 0) and ranks[0].exitcode == 0  # rank 1 was through while rank 0 was not
