"""The Dockerfile against the project, the settings and the manifests. `deploy/check_image.sh` builds and runs it."""

import dataclasses
import json
import re

import pytest

from service.config import Settings, variable


@pytest.fixture(scope="session")
def service(dockerfile):
    """The instructions of the last stage, those that may stand once."""
    return {name: arguments for name, arguments in dockerfile["service"] if name not in {"RUN", "COPY"}}


@pytest.fixture(scope="session")
def image_environment(dockerfile):
    pairs = [pair for name, arguments in dockerfile["service"] if name == "ENV" for pair in arguments.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def test_service_is_the_last_stage_and_so_the_default(dockerfile):
    assert list(dockerfile) == ["", "build", "service"]


def test_both_stages_have_the_same_python(dockerfile):
    """A virtual environment works only with the interpreter that made it."""
    bases = {arguments.split()[0] for stage in dockerfile.values() for name, arguments in stage if name == "FROM"}
    assert bases == {"${PYTHON_IMAGE}"}


def test_the_base_has_the_python_that_the_project_supports(dockerfile, project):
    [(_, base)] = dockerfile[""]
    version = re.search(r"python:(\d+\.\d+)-", base).group(1)
    assert f">={version}" == project["project"]["requires-python"]


def test_dependencies_are_installed_from_the_lock_with_hashes(dockerfile, root):
    commands = [arguments for name, arguments in dockerfile["build"] if name == "RUN" and " install " in arguments]
    for command in commands:
        installs = [part for part in command.split("&&") if " install " in part]
        assert all("--require-hashes" in part or "--no-index" in part for part in installs)
    assert any("--requirement requirements/service.txt" in command for command in commands)
    assert (root / "requirements" / "service.txt").is_file()


def test_the_development_lock_has_the_build_system_with_its_hash(root, project):
    """The Dockerfile cuts this block out of the lock, because service.txt has no build system."""
    assert project["build-system"]["build-backend"].startswith("setuptools")
    lock = (root / "requirements" / "dev.txt").read_text()
    assert re.search(r"^setuptools==\S+ \\\n    --hash=sha256:", lock, flags=re.MULTILINE)


def test_the_builder_sees_all_that_the_package_is_made_of(root, project):
    allowed = {line[1:].rstrip("/") for line in (root / ".dockerignore").read_text().split() if line.startswith("!")}
    setuptools = project["tool"]["setuptools"]
    packages = [pattern.rstrip("*") for pattern in setuptools["packages"]["find"]["include"]]
    modules = [f"{module}.py" for module in setuptools["py-modules"]]
    assert allowed == {"pyproject.toml", project["project"]["readme"], "requirements/*.txt", *packages, *modules}


def test_every_variable_is_a_setting(image_environment):
    variables = {name for name in image_environment if name.startswith("CONVOY_")}
    assert variables
    assert variables <= {variable(field.name) for field in dataclasses.fields(Settings)}


def test_the_manifest_repeats_what_the_image_says(image_environment, environment):
    for name, value in image_environment.items():
        assert environment.get(name, value) == value


def test_onnxruntime_is_told_to_send_nothing(image_environment):
    """It reads the variable once, when it is loaded: its API can only turn off a part of the events, and later."""
    assert image_environment["ORT_DISABLE_TELEMETRY"] == "1"


def test_the_exposed_ports_are_the_servers(service, image_environment):
    assert service["EXPOSE"].split() == [image_environment["CONVOY_PORT"], image_environment["CONVOY_METRICS_PORT"]]


def test_the_image_runs_as_the_user_of_the_manifest(service, pod):
    """Numeric, because runAsNonRoot can't be checked by name."""
    context = pod["spec"]["securityContext"]
    assert service["USER"] == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert context["runAsUser"] > 10_000


def test_signals_reach_the_server(service):
    """The exec form: with a shell in between, SIGTERM would end the shell and not drain the server."""
    assert json.loads(service["ENTRYPOINT"]) == ["convoy"]
    assert json.loads(service["CMD"]) == ["serve"]
    assert service["STOPSIGNAL"] == "SIGTERM"
