"""What is installed says its licence, and can be listed for machines."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts" / "licences.py"


def test_every_package_says_its_licence() -> None:
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert lines["fastapi"].endswith("MIT")
    assert "coursegraph" not in lines


def test_the_bill_of_materials_names_every_package(tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    subprocess.run([sys.executable, SCRIPT, "--sbom", file], check=True)
    document = json.loads(file.read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    names = {component["purl"].split("@")[0] for component in document["components"]}
    assert {"pkg:pypi/fastapi", "pkg:pypi/motor", "pkg:pypi/pydantic-core"} <= names
    assert len({component["bom-ref"] for component in document["components"]}) == len(document["components"])
