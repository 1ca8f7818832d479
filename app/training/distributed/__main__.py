"""One rank of several on this machine, started by the first: HOST PORT RANK SIZE TIMEOUT_SECONDS."""

import sys

from app.errors import RankLostError
from app.training.distributed.launch import serve

if __name__ == "__main__":
    host, port, rank, size, timeout = sys.argv[1:]
    try:
        serve(host, int(port), int(rank), int(size), float(timeout))
    except RankLostError as error:
        sys.exit(f"coursegraph: {error}")
