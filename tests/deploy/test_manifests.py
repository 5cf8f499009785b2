"""The manifests against the Kubernetes schemas, against each other and against the real settings.

A schema knows fields, not meanings: a selector that selects nothing is valid. What must agree between two resources, or
between a resource and the server, is tested here.
"""

import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import typer
import yaml
from typer.testing import CliRunner

from bundle.preprocessing import PEAK_BYTES_A_PIXEL
from service.api.health import LIVENESS
from service.cli.options import with_settings
from service.config import Settings, variable

OLDEST = "1.30"  # kustomization.yaml and deploy/README.md promise it
NEWEST = kubernetes_validate.latest_version()

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on the PATH")


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("kind", ["Deployment", "Service", "PodDisruptionBudget", "PersistentVolumeClaim"])
def test_every_resource_follows_the_strict_schema(manifests, kind, version):
    kubernetes_validate.validate(manifests[kind], version, strict=True)


def test_the_schemas_test_covers_every_resource(manifests):
    assert sorted(manifests) == ["Deployment", "PersistentVolumeClaim", "PodDisruptionBudget", "Service"]


def test_a_misspelt_field_would_be_noticed(manifests):
    spec = {**manifests["Service"]["spec"], "clusterIp": "None"}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**manifests["Service"], "spec": spec}, NEWEST, strict=True)


def test_every_file_of_the_base_is_a_resource(kustomization, base):
    files = {path.name for path in base.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(kustomization["resources"])


@needs_kubectl
def test_kubectl_renders_what_these_tests_read(manifests, base):
    assert render(base) == manifests


@needs_kubectl
def test_the_overlay_of_the_readme_renders(manifests, root, tmp_path):
    [overlay] = re.findall(
        r"```yaml\n# kustomization.yaml\n(.+?)```", (root / "deploy/README.md").read_text(), re.DOTALL
    )
    shutil.copytree(root / "deploy" / "base", tmp_path / "base")
    (tmp_path / "production").mkdir()
    (tmp_path / "production" / "kustomization.yaml").write_text(overlay)
    rendered = render(tmp_path / "production")
    assert rendered.keys() == manifests.keys()
    for document in rendered.values():
        kubernetes_validate.validate(document, NEWEST, strict=True)
    assert rendered["PersistentVolumeClaim"]["spec"]["storageClassName"] == "shared-files"
    [server] = rendered["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert server["image"].startswith("registry.example.com/vision/convoy:")


def render(folder):
    """The folder's resources by kind, as `kubectl apply -k` would send them."""
    text = subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True, text=True).stdout
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def test_the_deployment_owns_the_pods_that_it_makes(manifests, pod):
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget"])
def test_selectors_of_other_resources_select_the_pods(manifests, pod, kind):
    selector = manifests[kind]["spec"]["selector"]
    assert selector.get("matchLabels", selector).items() <= pod["metadata"]["labels"].items()


def test_pods_are_spread_against_their_own_kind(pod):
    for constraint in pod["spec"]["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"] == pod["metadata"]["labels"]


def test_the_service_leads_to_the_grpc_port(manifests, ports):
    [port] = manifests["Service"]["spec"]["ports"]
    assert port["targetPort"] == "grpc"
    assert manifests["Service"]["spec"]["clusterIP"] == "None"
    assert port["port"] == ports["grpc"]  # a headless service translates no port


def test_the_ports_are_those_on_which_the_server_listens(ports, environment):
    assert ports == {"grpc": int(environment["CONVOY_PORT"]), "metrics": int(environment["CONVOY_METRICS_PORT"])}


@pytest.mark.parametrize("probe", ["startupProbe", "livenessProbe", "readinessProbe"])
def test_probes_ask_the_grpc_port(container, ports, probe):
    assert container[probe]["grpc"]["port"] == ports["grpc"]


def test_a_draining_or_loading_server_is_not_killed(container):
    """Only readiness asks the overall health, which says NOT_SERVING while models load and while the server drains."""
    assert "service" not in container["readinessProbe"]["grpc"]
    assert container["startupProbe"]["grpc"]["service"] == container["livenessProbe"]["grpc"]["service"] == LIVENESS


def test_the_pod_lives_longer_than_its_drain_as_the_readme_says(pod, container, environment, root):
    steps = [
        container["lifecycle"]["preStop"]["sleep"]["seconds"],
        float(environment["CONVOY_DRAIN_DELAY"]),
        float(environment["CONVOY_DRAIN_TIMEOUT"]),
    ]
    grace = pod["spec"]["terminationGracePeriodSeconds"]
    assert grace > sum(steps)
    _, table = (root / "deploy/README.md").read_text().split("### From a pod's deletion to its exit")
    assert [float(figure) for figure in re.findall(r"\b\d+\b", table[: table.index("\n## ")])] == [*steps, grace]


def test_every_variable_is_a_setting_and_every_value_is_accepted(environment, monkeypatch):
    """By the parser of `convoy serve` itself; an unknown variable would be ignored, so the names are compared first."""
    assert set(environment) <= {variable(field.name) for field in dataclasses.fields(Settings)}
    for name in [name for name in os.environ if name.startswith("CONVOY_")]:
        monkeypatch.delenv(name)
    parsed: list[Settings] = []
    app = typer.Typer()
    app.command()(with_settings(parsed.append))
    answer = CliRunner().invoke(app, env=environment)
    assert answer.exit_code == 0, answer.output
    assert parsed[0].repository == Path("/models")
    assert parsed[0].drain_timeout == float(environment["CONVOY_DRAIN_TIMEOUT"])


def test_no_service_can_write_into_the_settings(pod):
    """Service links would turn a Service named `convoy` into CONVOY_PORT=tcp://10.0.0.1:8500."""
    assert pod["spec"]["enableServiceLinks"] is False


def test_an_inference_uses_the_cpus_that_were_requested(container, environment):
    assert environment["CONVOY_THREADS"] == container["resources"]["requests"]["cpu"]


def test_the_largest_pictures_on_every_decoding_thread_leave_half_of_the_memory(container, environment):
    """The rest is for the process, its models and the requests that wait."""
    memory = container["resources"]["limits"]["memory"]
    assert memory.endswith("Gi")
    threads = int(environment["CONVOY_THREADS"]) * int(environment["CONVOY_INSTANCES"])
    pictures = threads * PEAK_BYTES_A_PIXEL * int(environment["CONVOY_MAX_IMAGE_PIXELS"])
    assert pictures <= int(memory.removesuffix("Gi")) * 2**30 // 2


def test_the_image_is_this_release(container, project):
    assert container["image"] == f"convoy:{project['project']['version']}"


def test_every_volume_is_mounted_and_every_claim_exists(pod, container, manifests):
    mounts, volumes = container["volumeMounts"], pod["spec"]["volumes"]
    assert [mount["name"] for mount in mounts] == [volume["name"] for volume in volumes]
    claims = [volume["persistentVolumeClaim"] for volume in volumes if "persistentVolumeClaim" in volume]
    assert claims == [{"claimName": manifests["PersistentVolumeClaim"]["metadata"]["name"], "readOnly": True}]


def test_the_repository_is_the_model_volume_and_read_only(container, environment):
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts[environment["CONVOY_REPOSITORY"]] == {"name": "models", "mountPath": "/models", "readOnly": True}


def test_the_pod_meets_the_restricted_security_standard(pod, container):
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
