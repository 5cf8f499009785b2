"""The manifests and the Dockerfile as values, read once from the files that users apply and build."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy" / "base"

Manifest = dict[str, Any]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def base() -> Path:
    return BASE


@pytest.fixture(scope="session")
def project() -> Manifest:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="session")
def kustomization() -> Manifest:
    return yaml.safe_load((BASE / "kustomization.yaml").read_text())


@pytest.fixture(scope="session")
def manifests(kustomization: Manifest) -> dict[str, Manifest]:
    """Every resource of the base by its kind; the base has one of each."""
    texts = [(BASE / name).read_text() for name in kustomization["resources"]]
    documents = [document for text in texts for document in yaml.safe_load_all(text)]
    assert len({document["kind"] for document in documents}) == len(documents)
    return {document["kind"]: document for document in documents}


@pytest.fixture(scope="session")
def pod(manifests: dict[str, Manifest]) -> Manifest:
    """The Deployment's pod template."""
    return manifests["Deployment"]["spec"]["template"]


@pytest.fixture(scope="session")
def container(pod: Manifest) -> Manifest:
    """The pod's only container."""
    [container] = pod["spec"]["containers"]
    return container


@pytest.fixture(scope="session")
def ports(container: Manifest) -> dict[str, int]:
    """The container's ports by name."""
    return {port["name"]: port["containerPort"] for port in container["ports"]}


@pytest.fixture(scope="session")
def environment(container: Manifest) -> dict[str, str]:
    """What the container's environment says."""
    return {variable["name"]: variable["value"] for variable in container["env"]}


@pytest.fixture(scope="session")
def dockerfile() -> dict[str, list[tuple[str, str]]]:
    """Instructions and their arguments by stage, in order; what stands above the first FROM is stage ""."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    stages: dict[str, list[tuple[str, str]]] = {"": []}
    for instruction, arguments in re.findall(r"^([A-Z]+)\s+(.+)$", text, flags=re.MULTILINE):
        if instruction == "FROM":
            stages[arguments.split(" AS ")[1]] = []
        stages[next(reversed(stages))].append((instruction, " ".join(arguments.split())))
    return stages
