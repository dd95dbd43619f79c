"""Worker processes: each builds one party's heavy part by itself, so no key ever travels and no event loop blocks.

Arguments and results cross by pickle between a party's own processes only; messages cross as the bytes they are.
"""

import asyncio
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pkgutil import resolve_name
from typing import Any

from api.settings import Settings

_PARENT_CHECK_SECONDS = 1.0

_built: Any = None


class Workers:
    """A pool of processes that each hold what `build(settings)` makes, and begin with it at once.

    `build` is a function's name, `module:function`: a worker imports it, its party's own process need not.
    """

    def __init__(self, build: str, settings: Settings) -> None:
        self._build, self._settings = build, settings
        self._executor = self._pool()
        self._first = self._executor.submit(_nothing)

    async def start(self) -> None:
        """Wait until a worker has built what it holds; what keeps it from that is raised here."""
        await asyncio.wrap_future(self._first)

    async def run(self, method: str, *arguments: Any) -> Any:
        """Call a method of what a worker holds.

        Raises:
            PeerError: what the method raised.
            BrokenProcessPool: a worker was killed; this call is lost, and the next one finds new workers.
        """
        executor = self._executor
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, _call, method, arguments)
        except BrokenProcessPool:
            if self._executor is executor:
                self._executor = self._pool()
            raise

    def stop(self) -> None:
        """Finish what runs, and end all processes."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._settings.workers,
            mp_context=get_context("spawn"),
            initializer=_start,
            initargs=(self._build, self._settings, os.getpid()),
        )


def _start(build: str, settings: Settings, parent: int) -> None:
    global _built  # noqa: PLW0603  # a worker process is one object; this is where it lives
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _built = resolve_name(build)(settings)


def _nothing() -> None:
    """Run in a worker only once it is built."""


def _call(method: str, arguments: tuple[Any, ...]) -> Any:
    return getattr(_built, method)(*arguments)


def _end_with(parent: int) -> None:
    """End this process when the party's own process is gone, however it ended."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os._exit(1)
