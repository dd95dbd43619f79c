"""An agency's node as a service: FastAPI before, the node itself in worker processes."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api.logs import log
from api.party_app import Role, create_party_app
from api.settings import Settings
from api.worker import Workers
from federation.transport import HttpTransport
from nodes.catalogue import load_catalogue
from nodes.service import Node, Shares
from protocol.agreement.roster import COORDINATOR
from protocol.errors import PeerError
from protocol.messages import Ask, Evaluate, Open, Prove
from protocol.paillier import Randomiser

LIMITS = {kind.TYPE: kind.LIMIT for kind in (Evaluate, Ask, Open, Prove)}
_RETRY_SECONDS = 1.0
