"""Workers on this machine."""

from __future__ import annotations

import queue
import threading
from typing import Any

from tgdp_jax.app.workers.process import CELL, ENDED, LAST, Job, Setup, Worker


class LocalCrew:
    """Up to `size` worker processes, started as there is work for them. Use as a context manager."""

    def __init__(self, setup: Setup, size: int):
        self._setup, self._size = setup, size
        self._heard: queue.Queue[tuple[Worker, list[Any]]] = queue.Queue()
        self._jobs: dict[Worker, Job] = {}
        self._idle: list[Worker] = []
        self._all: list[Worker] = []

    def __enter__(self) -> LocalCrew:
        return self

    def __exit__(self, *error: Any) -> None:
        self.stop()
        for worker in self._all:
            worker.process.wait()

    def free(self) -> bool:
        """Whether a further cell can be handed out."""
        return len(self._jobs) < self._size

    def start(self, job: Job) -> None:
        """Hands a cell to a worker that has none, or to a new one."""
        worker = self._idle.pop() if self._idle else self._new()
        self._jobs[worker] = job
        worker.ask(job)

    def next(self, seconds: float) -> tuple[Job, list[Any]] | None:
        """What a worker says of its cell."""
        try:
            worker, words = self._heard.get(timeout=seconds)
        except queue.Empty:
            return None
        job = self._jobs.get(worker)
        if words[0] == ENDED:
            self._idle = [other for other in self._idle if other is not worker]
        if words[0] == CELL:
            self._idle.append(worker)
        if words[0] in LAST:
            self._jobs.pop(worker, None)
        return None if job is None else (job, words)

    def stop(self) -> list[Job]:
        """Asks all workers to save and to end."""
        for worker in self._all:
            worker.stop()
        return []

    def _new(self) -> Worker:
        worker = Worker(self._setup)
        self._all.append(worker)

        def listen() -> None:
            for words in worker.messages():
                self._heard.put((worker, words))

        threading.Thread(target=listen, daemon=True).start()
        return worker
