"""One party's process: `python -m api.serve DIRECTORY`, settings from the environment."""

import sys
from pathlib import Path

import uvicorn

from api import coordinator_app, gateway_app, logs, node_app
from api.settings import Settings
from protocol.agreement.roster import COORDINATOR

GRACE_SECONDS = 10


def main() -> None:
    """Serve until told to stop; then finish what is under way, or refuse it."""
    settings = Settings(directory=Path(sys.argv[1]))
    logs.configure(settings.party)
    if settings.party == COORDINATOR:
        app = coordinator_app.create_app(settings)
    elif settings.party in settings.terms.agencies:
        app = node_app.create_app(settings)
    else:
        app = gateway_app.create_app(settings)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )


if __name__ == "__main__":
    main()
