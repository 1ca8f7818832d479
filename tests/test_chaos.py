"""A short scripts/chaos: nothing acknowledged is lost, whatever is killed or cut off."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.timeout(600)
def test_nothing_is_lost_when_everything_breaks() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "chaos", "--minutes", "1.5", "--seed", "3"],
        capture_output=True,
        text=True,
        timeout=560,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "wrong while it ran: 0" in said
    assert "wrong in the end: 0" in said
    acknowledged = re.search(r"rows acknowledged ([\d,]+)", said)
    assert acknowledged is not None, said
    assert int(acknowledged[1].replace(",", "")) > 500, said
    faults = re.findall(r"^ +\d+  (?:KILL|TERM|STOP|network|disk) ?", said, re.MULTILINE)
    assert len(faults) >= 3, said
