"""Workers of a dask cluster. Each of them starts a process of its own for a cell, and passes on what that says."""

from __future__ import annotations

import queue
import threading
import uuid
from typing import Any

from distributed import Client, Event, Future, get_client, get_worker

from tgdp_jax.app.workers.process import CELL, ENDED, LAST, REFUSED, STOPPED, Job, Setup, Worker
from tgdp_jax.errors import UserError, first_line

ANSWER = 5  # seconds that the scheduler is waited for
STOP = 1.0  # seconds between two looks at whether a cell is to be stopped


class ClusterCrew:
    """The workers of the dask cluster at `address`. Use as a context manager.

    Raises:
      UserError: no scheduler answers there.
    """

    def __init__(self, setup: Setup, address: str):
        self._setup = setup
        try:
            self._client = Client(address, timeout=ANSWER, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise UserError(
                f"no dask scheduler answers at {address} ({first_line(error)}): start one with `dask scheduler`, or "
                "give the address that it printed"
            ) from error
        self._topic = f"tgdp-{uuid.uuid4().hex}"
        self._stop = Event(self._topic, client=self._client)
        self._heard: queue.Queue[tuple[Job, list[Any]]] = queue.Queue()
        self._client.subscribe_topic(self._topic, lambda event: self._hear(event[1]))
        self._begun: set[Job] = set()
        self._futures: dict[Job, Future] = {}

    def __enter__(self) -> ClusterCrew:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop.set()
        self._client.close()

    def free(self) -> bool:
        """The scheduler takes all cells, and hands them out itself."""
        return True

    def start(self, job: Job) -> None:
        """Hands a cell to the scheduler."""
        future = self._client.submit(_fill, self._setup, job, self._topic, pure=False)
        self._futures[job] = future
        future.add_done_callback(lambda done: self._heard.put((job, _last_words(done))))

    def next(self, seconds: float) -> tuple[Job, list[Any]] | None:
        """What a worker says of its cell."""
        try:
            job, words = self._heard.get(timeout=seconds)
        except queue.Empty:
            return None
        self._begun.add(job)
        return job, words

    def stop(self) -> list[Job]:
        """Asks all workers to save and to end."""
        self._stop.set()
        idle = [job for job, future in self._futures.items() if job not in self._begun and not future.done()]
        self._client.cancel([self._futures[job] for job in idle])
        return idle

    def _hear(self, event: Any) -> None:
        job, words = event
        self._heard.put((Job(*job), list(words)))


def _last_words(future: Future) -> list[Any]:
    """What is said last of a cell whose task is over."""
    if future.status == "finished":
        return list(future.result())
    if future.status == "cancelled":
        return [STOPPED, ""]
    error: Any = future.exception()
    if type(error).__name__ == "KilledWorker":
        return [
            REFUSED,
            f"the cluster lost several workers at this cell ({first_line(error)}): look at their logs",
            False,
        ]
    return [REFUSED, f"a worker of the cluster failed ({first_line(error)}): install the same tgdp_jax there", False]


def _fill(setup: Setup, job: Job, topic: str) -> list[Any]:
    """On a worker of the cluster: has a process fill one cell, and returns its last words."""
    setup, here, stop = Setup(*setup), get_worker(), Event(topic, client=get_client())
    try:
        worker = Worker(setup)
    except OSError as error:
        return [REFUSED, f"a worker at {here.address} can not work in {setup.place} ({first_line(error)})", True]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(STOP):
            if stop.is_set():
                worker.stop()

    threading.Thread(target=watch, daemon=True).start()
    last: list[Any] = [ENDED, 1]
    worker.ask(job)
    for words in worker.messages():
        if words[0] not in LAST:
            here.log_event(topic, [job, words])
            continue
        if words[0] != ENDED or last == [ENDED, 1]:
            last = words
        if words[0] == CELL:
            worker.stop()
    over.set()
    return last
