"""A cluster that is there already: reached by TLS with its authority's certificates, and by nobody else."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from distributed.security import Security

pytestmark = pytest.mark.full

PROGRAM = """
import sys
from api.cli.engines import dask_client
with dask_client(sys.argv[1], None, {}) as client:
    print(client.submit(sum, (30, 12)).result())
"""


def certificates(folder: Path) -> dict[str, str]:
    """Dask's settings for certificates of a new authority, for every role."""
    folder.mkdir()
    made = Security.temporary()
    names = {"ca.pem": made.tls_ca_file, "all.pem": made.tls_scheduler_cert, "all.key": made.tls_scheduler_key}
    for name, text in names.items():
        (folder / name).write_text(text)
    prefix = "DASK_DISTRIBUTED__COMM__TLS__"
    found = {f"{prefix}CA_FILE": str(folder / "ca.pem")}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        found |= {f"{prefix}{role}__CERT": str(folder / "all.pem"), f"{prefix}{role}__KEY": str(folder / "all.key")}
    return found


@contextmanager
def dask(environment: Mapping[str, str], *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "dask", *words]
    with subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.terminate()


def connect(address: str, environment: Mapping[str, str]) -> tuple[int, str, str]:
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", PROGRAM, address],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_work_is_done_for_who_has_a_certificate_of_the_cluster_and_for_nobody_else(tmp_path: Path) -> None:
    own, others = certificates(tmp_path / "own"), certificates(tmp_path / "others")
    on_loopback = ("--host", "127.0.0.1", "--no-dashboard")
    with ExitStack() as stack:
        scheduler = stack.enter_context(dask(own, "scheduler", "--protocol", "tls", "--port", "0", *on_loopback))
        assert scheduler.stderr is not None
        address = next(it[1] for line in scheduler.stderr if (it := re.search(r"(tls://127\.0\.0\.1:\d+)", line)))
        stack.enter_context(dask(own, "worker", address, "--nworkers", "2", "--nthreads", "1", *on_loopback))
        code, out, err = connect(address, own)
        assert (code, out) == (0, "42\n"), err
        for environment in (others, {}):
            code, out, err = connect(address, environment)
            assert code != 0
            assert (out, "--scheduler" in err) == ("", True), err
