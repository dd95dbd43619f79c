"""One party's process: `python -m api.serve DIRECTORY`, settings from the environment.

Worker processes import this module again (multiprocessing, "spawn"), so it imports no service that it does not run.
"""

import sys
from importlib import import_module
from pathlib import Path

from api.settings import Settings
from api.worker import Workers
from protocol.agreement.roster import COORDINATOR

GRACE_SECONDS = 10
KEEP_ALIVE_SECONDS = 75  # longer than `federation.transport` keeps an idle connection


def main() -> None:
    """Serve until told to stop; then finish what is under way, or refuse it."""
    settings = Settings(directory=Path(sys.argv[1]))
    import_module("api.logs").configure(settings.party)
    if settings.party == COORDINATOR:
        # Workers first: they import and build while this process does.
        workers = Workers("api.held:hold_arithmetic", settings)
        app = import_module("api.coordinator_app").create_app(settings, workers)
    elif settings.party in settings.terms.agencies:
        workers = Workers("api.held:hold_nodes", settings)
        app = import_module("api.node_app").create_app(settings, workers)
    else:
        app = import_module("api.gateway_app").create_app(settings)
    import_module("uvicorn").run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )


if __name__ == "__main__":
    main()
