"""Settings of how a run is carried out, which can be made and checked without JAX."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tgdp_jax.errors import UserError, check_finite

# Each is a process with its own copy of the libraries and of the data.
MAX_WORKERS = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Where and how a run is carried out.

    Attributes:
      devices: how many of the devices to use. Default: all.
      shard: split the weights of networks, with all that training keeps of them, over the devices, instead of copying
        them to each: for networks that one device can not hold. Results then depend on their number by rounding.
      resume: go on with what is in the folder; --no-resume refuses a folder that holds something.
      checkpoint_seconds: between two checkpoints of training; 0: after every launch.
      store: folder of runs whose finished stages are taken over where settings, data and seed are the same, instead of
        training them again. Default: the folder that --out lies in.
      compile_cache: keep compiled programs in the user's cache folder (or JAX_COMPILATION_CACHE_DIR).
      log: follow the run with one or more of jsonl (log.jsonl in its folder), tensorboard, wandb and mlflow (extras of
        these names).
      coordinator: host:port of process 0, for runs of several processes; found by itself under SLURM, Open MPI and on
        Cloud TPU.
      num_processes: how many processes the run has.
      process_id: number of this one.
      peer_seconds: how long to wait for the other processes at the start.
      quiet: show no progress and no notes: warnings, errors and the results alone.
      verbose: say which programs are compiled and how long that takes.
    """

    devices: int | None = None
    shard: bool = False
    resume: bool = True
    checkpoint_seconds: float = 60.0
    store: Path | None = None
    compile_cache: bool = True
    log: tuple[str, ...] = ()
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    peer_seconds: int = 300
    quiet: bool = False
    verbose: bool = False

    def __post_init__(self):
        check_finite(self)
        if self.checkpoint_seconds < 0:
            raise UserError(f"checkpoint-seconds is {self.checkpoint_seconds}: give 0 or more")
        if self.devices is not None and self.devices < 1:
            raise UserError(f"devices is {self.devices}: give at least 1")
        if self.peer_seconds < 1:
            raise UserError(f"peer-seconds is {self.peer_seconds}: give at least 1")
        explicit = (self.coordinator, self.num_processes, self.process_id)
        if any(part is not None for part in explicit) and None in explicit:
            raise UserError("a run of several processes needs all of --coordinator, --num-processes and --process-id")
        if self.num_processes is not None and self.num_processes < 1:
            raise UserError(f"num-processes is {self.num_processes}: give at least 1")
        if self.coordinator is not None and not _is_address(self.coordinator):
            raise UserError(f"coordinator is {self.coordinator!r}: give HOST:PORT of process 0, such as 10.0.0.1:1234")
        if self.num_processes is not None and not 0 <= (self.process_id or 0) < self.num_processes:
            raise UserError(f"process-id is {self.process_id}: it must lie in 0..{self.num_processes - 1}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunEngineConfig(EngineConfig):
    """Where and how a run is carried out, or whether it is at all.

    Attributes:
      dry_run: say how many parameters, operations and bytes a step of training and a sample take, by the compiler's own
        analysis, and do nothing else. Weights are not loaded.
    """

    dry_run: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareEngineConfig(EngineConfig):
    """Where and how a comparison is carried out.

    Attributes:
      workers: cells of the comparison that are filled side by side, each in a process of its own. The results are the
        same to the bit.
      scheduler: address HOST:PORT of a dask scheduler, on whose cluster cells are filled side by side (extra
        `cluster`). All of its workers must see --out.
    """

    workers: int = 1
    scheduler: str | None = None

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.workers <= MAX_WORKERS:
            raise UserError(f"workers is {self.workers}: give 1 to {MAX_WORKERS}")
        if self.scheduler is not None and self.workers > 1:
            raise UserError("the cluster of --scheduler has its own number of workers: leave out --workers")
        if self.scheduler is not None and not _is_address(self.scheduler.rpartition("//")[2]):
            raise UserError(
                f"scheduler is {self.scheduler!r}: give HOST:PORT of a dask scheduler, such as 10.0.0.1:8786"
            )
        if self.side_by_side and self.coordinator is not None:
            raise UserError("cells are filled side by side by one process that asks others: leave out --coordinator")

    @property
    def side_by_side(self) -> bool:
        """Whether other processes fill the cells."""
        return self.workers > 1 or self.scheduler is not None


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 2**16
