"""How a run is carried out, never what it computes: devices, processes, compiled programs, checkpoints, logs."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import platformdirs

from tgdp_jax.errors import UserError
from tgdp_jax.runtime import aborts, parallel, peers, preemption
from tgdp_jax.runtime.settings import EngineConfig as EngineConfig

# Schedulers whose environment tells a process its peers, and the variable that holds how many there are.
CLUSTERS = {"SLURM": "SLURM_NTASKS", "Open MPI": "OMPI_COMM_WORLD_SIZE"}
# Seconds that a process waits for the others before it exits.
LAST_WORDS = 10
# Seconds without a sign of life after which the others take a process for dead. One whose sums wait for those of
# another device in the same process notices nothing else.
SILENCE = 20
# Share of the memory maps open to a process that compiled programs may come to.
MAPS_SHARE = 0.4


@contextmanager
def running(
    config: EngineConfig, *, stopped: str = f"stopped; what is finished is kept; {preemption.AGAIN}"
) -> Iterator[None]:
    """Everything within runs on the devices asked for, and ends cleanly when asked to.

    Args:
      config: how it is carried out.
      stopped: what is said where that ends work of which nothing needs saving.

    Raises:
      Preempted: the process was asked to stop; what it goes on from has been said.
      UserError: too many devices, or the other processes do not come, or one of them ends.
    """
    if config.compile_cache and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
    _join(config)
    try:
        parallel.use_devices(config.devices, shard=config.shard)
        with jax.log_compiles(config.verbose), preemption.listening():
            yield
            parallel.barrier("all is done")  # at its exit a process waits for the others no longer than LAST_WORDS
    except BaseException as error:
        if isinstance(error, preemption.Preempted) and parallel.is_primary():
            said = f"saved at {error.saved}; {preemption.AGAIN}" if error.saved else stopped
            print(f"tgdp: {said}", file=sys.stderr)
        gone = jax.process_count() > 1 and peers.is_gone(error)
        _End.code = 2 if gone or isinstance(error, UserError) else error.code if isinstance(error, SystemExit) else 1
        _End.alone = gone
        if gone:
            raise UserError(peers.GONE) from error
        raise
    finally:
        parallel.use_devices(None)


class _End:
    """Exit code of this process, and whether there are no others to wait for, for `_part`."""

    code: Any = 0
    alone = False


def _part(multihost: Any) -> None:
    """At the exit of one of several processes, before JAX's own end: that aborts where the others do not come."""
    try:
        if _End.alone:
            raise TimeoutError
        together = multihost.get_barrier_sync_fn(processes=set(range(jax.process_count())))
        together(key="the end", timeout_ms=1000 * LAST_WORDS)
    except Exception:  # they are elsewhere, or gone
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_End.code if isinstance(_End.code, int) else 1)


def cache_folder() -> Path:
    """Where compiled programs are kept."""
    return Path(platformdirs.user_cache_dir("tgdp_jax")) / "compiled"


def spare_memory_maps() -> bool:
    """Forgets all compiled programs where this process holds many memory maps, and tells whether it did.

    On CPU a program holds some tens of maps. Linux gives a process 65,530 (vm.max_map_count), and XLA aborts when it
    gets no more: so work of many programs, such as a comparison, asks here from time to time. Programs that are needed
    again come from the compile cache.
    """
    try:
        limit = int(Path("/proc/sys/vm/max_map_count").read_text())
        with open("/proc/self/maps") as maps:
            held = sum(1 for _ in maps)
    except OSError:  # not Linux
        return False
    if held < MAPS_SHARE * limit:
        return False
    jax.clear_caches()
    gc.collect()
    return True


def _join(config: EngineConfig) -> None:
    """Connects to the other processes of the run, if it has any."""
    if jax.distributed.is_initialized():
        return
    alone = config.coordinator is None and not _in_cluster()
    if alone:
        return
    problem = [f"no answer in {config.peer_seconds} s"]

    def connect() -> None:
        try:
            jax.distributed.initialize(
                config.coordinator,
                config.num_processes,
                config.process_id,
                initialization_timeout=config.peer_seconds + 3600,
                heartbeat_timeout_seconds=SILENCE,
                shutdown_timeout_seconds=LAST_WORDS,
            )
            problem.clear()
        except Exception as error:
            problem[0] = (str(error).splitlines() or [type(error).__name__])[0][:150]

    # Signals are `preemption`'s.
    jax.config.update("jax_enable_preemption_service", False)
    # JAX aborts the process where its own patience ends: ours, on another thread, ends before.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(config.peer_seconds)
    if problem:
        raise UserError(
            f"the other processes of the run could not be reached ({problem[0]}): start them all with the same "
            "--coordinator and --num-processes, or wait longer with --peer-seconds"
        )
    if jax.process_count() > 1 and not config.verbose:
        aborts.speak_for_aborts(peers.of_abort)
    from orbax.checkpoint import multihost  # takes long, and few need it

    atexit.register(_part, multihost)


def _in_cluster() -> bool:
    """Whether a scheduler started this process as one of several."""
    if any(int(os.environ.get(variable) or 1) > 1 for variable in CLUSTERS.values()):
        return True
    return len(os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")) > 1


def describe() -> str:
    """One line on what was found and is used."""
    kinds = Counter(device.device_kind for device in parallel.devices())
    used = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
    of = "" if len(parallel.devices()) == jax.device_count() else f" of {jax.device_count()}"
    processes = "" if jax.process_count() == 1 else f" in {jax.process_count()} processes"
    split = ", weights split over them" if parallel.splits_weights() else ""
    return f"{used}{of}{split} ({jax.default_backend()}{processes}, jax {jax.__version__})"
