"""What ran or recorded parties leaves nothing open, or it would be found later, in somebody else's test."""

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from api.home import Home
from api.launcher import HOST, Launcher
from api.recorder import Recorder
from tests.parties import agreement

SECONDS = 10.0
# A party whose first thread is gone, and with it the party from the list of what runs, while another thread goes on.
ENDS_SLOWLY = """
import ctypes, os, threading, time
threading.Timer(0.5, os._exit, [0]).start()
print("up", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_recorder_that_ended_keeps_no_connection_to_a_party() -> None:
    with socket.create_server((HOST, 0)) as party, ThreadPoolExecutor(1) as sender:
        party.settimeout(SECONDS)
        with Recorder() as recorder:
            url = recorder.route({"tax": f"http://{HOST}:{party.getsockname()[1]}"})("bank")["tax"]
            asked = sender.submit(httpx.get, f"{url}/readyz", trust_env=False)
            connection, _ = party.accept()
            connection.settimeout(SECONDS)
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            assert asked.result().status_code == httpx.codes.OK
        with connection:
            assert connection.recv(1) == b""


def test_a_party_that_was_stopped_is_no_process_any_more_however_slowly_its_threads_end(tmp_path: Path) -> None:
    launcher, path = Launcher(Home(tmp_path), agreement()), Home(tmp_path).party_path("tax", agreement())
    path.mkdir(parents=True)
    command = [sys.executable, "-c", ENDS_SLOWLY, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603  # our own few lines
        assert process.stdout is not None
        process.stdout.readline()
        (path / "pid").write_text(f"{process.pid}\n")
        launcher._spawned.append(process)
        while launcher.running():
            pass
        assert process.returncode is None
        launcher.stop()
        assert process.returncode == 0
