"""One rank of several on this machine, started by the first: HOST PORT RANK SIZE TIMEOUT_SECONDS [DESCRIPTOR...]."""

import sys

from app.errors import RankLostError
from app.training.distributed.launch import serve

if __name__ == "__main__":
    try:
        serve(sys.argv[1:])
    except RankLostError as error:
        sys.exit(f"coursegraph: {error}")
