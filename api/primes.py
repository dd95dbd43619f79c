"""The search for safe primes, over all processors, with progress."""

import os
import secrets
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import get_context

from protocol.codec import i2osp, os2ip
from protocol.modulus import safe_prime_candidates

Progress = Callable[[str, int, int | None], None]
"""`progress(step, done, total)`; without a total nobody knows how long it takes."""
Find = Callable[[int, Progress], tuple[int, int]]
"""`find(bits, progress)`: two distinct safe primes of so many bits."""


def find_primes(bits: int, progress: Progress) -> tuple[int, int]:
    """Find two distinct safe primes of `bits` bits, reporting after every span of candidates searched."""
    found: list[int] = []
    spans = 0
    # Workers start afresh, draw their own randomness, and pass bytes only.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        running = {pool.submit(_search, bits) for _ in range(os.cpu_count() or 1)}
        while len(found) < 2:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for span in done:
                spans += 1
                if (data := span.result()) is not None and os2ip(data) not in found:
                    found.append(os2ip(data))
                progress(f"searching safe primes, {len(found)} of 2 found", spans, None)
            running |= {pool.submit(_search, bits) for _ in done}
        pool.shutdown(wait=False, cancel_futures=True)
    return found[0], found[1]


def _search(bits: int) -> bytes | None:
    """Search one span; each is as likely to succeed as any other."""
    prime = next(safe_prime_candidates(bits, secrets.token_bytes))
    return i2osp(int(prime), bits // 8) if prime else None
