"""One rank of several on this machine that reads its users from MONGODB_URI, and publishes them there.

Else as ``app.training.distributed``.
"""

import os
import sys

from app.errors import RankLostError
from app.telemetry.logging import configure_logging
from app.training.distributed.launch import serve
from app.worker.errands import errands

if __name__ == "__main__":
    configure_logging("warning", "text")
    try:
        serve(sys.argv[1:], errands(lambda: os.environ["MONGODB_URI"]))
    except RankLostError as error:
        sys.exit(f"coursegraph: {error}")
