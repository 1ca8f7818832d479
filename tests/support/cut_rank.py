"""Run as a script: one of two ranks of torchrun, on a machine of its own, that sum until the other is lost."""

import os
import sys
import time
from pathlib import Path

import torch

from app.errors import RankLostError
from app.training.distributed.launch import torchrun_ranks


def main(folder: Path, timeout_seconds: float) -> None:
    """Says when the first sums are done, and how it ended."""
    (folder / os.environ["RANK"]).touch()
    while len(list(folder.iterdir())) < int(os.environ["WORLD_SIZE"]):  # importing torch takes longer than the timeout
        time.sleep(0.02)
    with torchrun_ranks(os.environ, timeout_seconds) as group:
        done = 0
        while True:
            group.sum(torch.ones(1000))
            done += 1
            if done == 10:
                say("summing")


def say(words: str) -> None:
    """A line for whoever started this."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), float(sys.argv[2]))
    except RankLostError as error:
        say(f"lost: {error}")
        os._exit(3)  # the process group waits for the other
