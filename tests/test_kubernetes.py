"""The manifests: against the schemas of Kubernetes, and against what they speak of."""

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from app.errors import SettingError
from app.settings import Settings, environment_name, load_settings

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "scripts/kubernetes"
OLDEST, NEWEST = "1.30", "1.37"
DOCUMENTS: dict[tuple[str, str], Any] = {
    (document["kind"], document["metadata"]["name"]): document
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
}
DEPLOYMENTS = ("coursegraph-api", "coursegraph-worker")


def container_of(name: str) -> Any:
    (container,) = DOCUMENTS["Deployment", name]["spec"]["template"]["spec"]["containers"]
    return container


def test_all_that_is_wanted_is_there() -> None:
    assert set(DOCUMENTS) == {
        ("Secret", "coursegraph"),
        ("Service", "coursegraph"),
        ("Deployment", "coursegraph-api"),
        ("HorizontalPodAutoscaler", "coursegraph-api"),
        ("PodDisruptionBudget", "coursegraph-api"),
        ("Deployment", "coursegraph-worker"),
    }


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("key", DOCUMENTS, ids=" ".join)
def test_each_fits_its_schema(key: tuple[str, str], version: str) -> None:
    kubernetes_validate.validate(DOCUMENTS[key], version, strict=True)


def test_selectors_find_the_pods() -> None:
    for name in DEPLOYMENTS:
        spec = DOCUMENTS["Deployment", name]["spec"]
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    labels = DOCUMENTS["Deployment", "coursegraph-api"]["spec"]["template"]["metadata"]["labels"]
    assert DOCUMENTS["Service", "coursegraph"]["spec"]["selector"] == labels
    assert DOCUMENTS["PodDisruptionBudget", "coursegraph-api"]["spec"]["selector"]["matchLabels"] == labels
    assert labels != DOCUMENTS["Deployment", "coursegraph-worker"]["spec"]["template"]["metadata"]["labels"]


def test_the_autoscaler_has_the_last_word_and_some_are_always_there() -> None:
    scaler = DOCUMENTS["HorizontalPodAutoscaler", "coursegraph-api"]["spec"]
    deployment = DOCUMENTS["Deployment", "coursegraph-api"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    assert scaler["minReplicas"] > DOCUMENTS["PodDisruptionBudget", "coursegraph-api"]["spec"]["minAvailable"] > 1
    assert "cpu" in container_of("coursegraph-api")["resources"]["requests"]  # a share of it is what is measured


def test_probes_ask_what_there_is() -> None:
    calls = json.loads((ROOT / "openapi.json").read_text())["paths"]
    container = container_of("coursegraph-api")
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert calls[asked["path"]]["get"]["security"] == []
        assert asked["port"] in ports
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    (port,) = DOCUMENTS["Service", "coursegraph"]["spec"]["ports"]
    assert port["targetPort"] in ports
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f'"--port", "{ports["http"]}"' in dockerfile
    assert f'"--metrics-port", "{container_of("coursegraph-worker")["ports"][0]["containerPort"]}"' in dockerfile
    healthcheck = container_of("coursegraph-worker")["livenessProbe"]["exec"]["command"]
    assert f"CMD {json.dumps(healthcheck)}" in dockerfile


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_pods_have_no_rights_and_write_only_into_their_volumes(name: str) -> None:
    pod, container = DOCUMENTS["Deployment", name]["spec"]["template"]["spec"], container_of(name)
    assert pod["securityContext"]["runAsNonRoot"]
    assert f"\nUSER {pod['securityContext']['runAsUser']}\n" in (ROOT / "Dockerfile").read_text()
    assert pod["automountServiceAccountToken"] is False
    secure = container["securityContext"]
    assert secure == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    places = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert {*places} == {"/run/secrets", "/var/cache/coursegraph", "/tmp"}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {*places.values()} == {*volumes}
    assert volumes[places["/run/secrets"]]["secret"]["secretName"] == "coursegraph"


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_settings_are_settings(name: str) -> None:
    known = {environment_name(field) for field in Settings.model_fields}
    assert {variable["name"] for variable in container_of(name)["env"]} <= known
    assert {*DOCUMENTS["Secret", "coursegraph"]["stringData"]} <= {known_name.lower() for known_name in known}


def test_a_pod_drains_before_it_is_killed_and_after_readiness_was_asked() -> None:
    container = container_of("coursegraph-api")
    drain = float({v["name"]: v["value"] for v in container["env"]}["COURSEGRAPH_DRAIN_SECONDS"])
    readiness = container["readinessProbe"]
    assert drain >= 3 * readiness["periodSeconds"] * readiness["failureThreshold"]
    grace = DOCUMENTS["Deployment", "coursegraph-api"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= drain + 5


def test_two_workers_stand_by() -> None:
    assert DOCUMENTS["Deployment", "coursegraph-worker"]["spec"]["replicas"] == 2


def test_a_secret_that_was_not_filled_in_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.settings.SECRETS", tmp_path)
    for name, value in DOCUMENTS["Secret", "coursegraph"]["stringData"].items():
        (tmp_path / name).write_text(value)
    with pytest.raises(SettingError, match="MONGODB_URI"):
        load_settings()
    (tmp_path / "mongodb_uri").write_text("mongodb://mongo/")
    with pytest.raises(SettingError, match=re.compile("at least 32", re.IGNORECASE)):
        load_settings()
