#!/usr/bin/env python3
"""List every package of an environment with its version and licence; --sbom writes a CycloneDX document instead.

Run it with the environment to be listed:  .venv/bin/python scripts/licences.py [--sbom FILE]
The list ends with exit status 1 when a package does not say its licence.
"""

import argparse
import json
import re
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

OURSELVES = "coursegraph"
# Names of files that hold the text of a licence, for packages that say no more than that.
TEXTS = re.compile(r"(^|/)(licen[cs]e|copying)[^/]*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Package:
    """One installed package; ``licence`` is empty when it says none."""

    name: str
    version: str
    licence: str
    home: str


def packages() -> list[Package]:
    """All that are installed but ourselves, by name."""
    found = {package.name.lower(): package for package in map(_read, metadata.distributions())}
    return [package for name, package in sorted(found.items()) if name != OURSELVES]


def _read(distribution: metadata.Distribution) -> Package:
    fields: Any = distribution.metadata
    classifiers = [
        line.rpartition(" :: ")[2] for line in fields.get_all("Classifier", []) if line.startswith("License")
    ]
    said = fields.get("License-Expression") or _short(fields.get("License")) or ", ".join(sorted(set(classifiers)))
    if not said and any(TEXTS.search(str(file)) for file in distribution.files or ()):
        said = "see its licence file"
    return Package(fields["Name"], distribution.version, said, next(_homes(fields), ""))


def _short(licence: str | None) -> str:
    """Some give the whole text where the name belongs."""
    line = (licence or "").strip()
    return line if "\n" not in line and line.upper() != "UNKNOWN" else ""


def _homes(fields: Any) -> Iterator[str]:
    if home := fields.get("Home-page"):
        yield home
    yield from (line.partition(",")[2].strip() for line in fields.get_all("Project-URL", []))


def sbom(listed: list[Package]) -> dict[str, Any]:
    """CycloneDX 1.6."""
    ours = metadata.distribution(OURSELVES)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "component": {"type": "application", "name": OURSELVES, "version": ours.version, "bom-ref": OURSELVES},
        },
        "components": [_component(package) for package in listed],
    }


def _component(package: Package) -> dict[str, Any]:
    purl = f"pkg:pypi/{re.sub(r'[-_.]+', '-', package.name).lower()}@{package.version}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
    }
    if package.licence:
        component["licenses"] = [{"license": {"name": package.licence}}]
    if package.home:
        component["externalReferences"] = [{"type": "website", "url": package.home}]
    return component


def main() -> None:
    """Print the list, or write the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sbom", type=Path, metavar="FILE", help="write a CycloneDX document")
    chosen = parser.parse_args()
    listed = packages()
    if chosen.sbom is not None:
        chosen.sbom.write_text(json.dumps(sbom(listed), indent=1) + "\n", encoding="utf-8")
        return
    widths = max(len(package.name) for package in listed), max(len(package.version) for package in listed)
    for package in listed:
        print(f"{package.name:<{widths[0]}}  {package.version:<{widths[1]}}  {package.licence or 'says none'}")
    if silent := [package.name for package in listed if not package.licence]:
        sys.exit(f"licences: no licence is said by {', '.join(silent)}")


if __name__ == "__main__":
    main()
