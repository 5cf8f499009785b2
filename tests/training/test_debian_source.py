"""The real apt-get and dpkg, on a package and a package list that lie in a folder: no network, no root."""

import hashlib
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from training.datasets import debian
from training.errors import DatasetUnavailable

PACKAGE = "dataset-tiny"

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("apt-get", "dpkg", "dpkg-deb"))), reason="needs Debian's package tools"
)


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """An archive with one package; apt-get knows only this one, and has not read its list yet."""
    root, archive = tmp_path / "root", tmp_path / "archive"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "usr/share/datasets/tiny").mkdir(parents=True)
    archive.mkdir()
    (root / "usr/share/datasets/tiny/data").write_text("content")
    control = (
        f"Package: {PACKAGE}\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <n@localhost>\nDescription: tiny\n"
    )
    (root / "DEBIAN/control").write_text(control)
    deb = archive / f"{PACKAGE}_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", root, deb], check=True, capture_output=True)
    content = deb.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    (archive / "Packages").write_text(f"{control}Filename: ./{deb.name}\nSize: {len(content)}\nSHA256: {digest}\n")
    point_apt_at(archive, tmp_path, monkeypatch)
    return archive


def point_apt_at(archive, tmp_path, monkeypatch):
    (tmp_path / "sources.list").write_text(f"deb [trusted=yes] file:{archive} ./\n")
    (tmp_path / "lists/partial").mkdir(parents=True)
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\n'
        'Dir::Etc::sourceparts "/dev/null";\n'
        f'Dir::State::Lists "{tmp_path}/lists";\n'
        # As root apt would hand the download to a user that can't enter this folder.
        f'APT::Sandbox::User "{"root" if os.getuid() == 0 else ""}";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))


def names_in(folder):
    return [path.name for path in folder.iterdir()]


def test_a_package_is_fetched_and_unpacked(archive, tmp_path):
    destination = tmp_path / "cache" / "deep" / "tiny"
    debian.fetch(PACKAGE, "usr/share/datasets/tiny", destination)
    assert (destination / "data").read_text() == "content"
    assert names_in(destination.parent) == ["tiny"]


def test_two_runs_that_fetch_at_once_both_have_it(archive, tmp_path):
    destination = tmp_path / "cache" / "tiny"
    with ThreadPoolExecutor() as threads:
        fetches = [threads.submit(debian.fetch, PACKAGE, "usr/share/datasets/tiny", destination) for _ in range(3)]
    assert [fetch.result() for fetch in fetches] == [None] * 3
    assert names_in(destination.parent) == ["tiny"]
    assert (destination / "data").read_text() == "content"


def test_an_unknown_package_is_said_with_apts_own_words_and_leaves_nothing(archive, tmp_path):
    with pytest.raises(DatasetUnavailable, match="Unable to locate package no-such-package"):
        debian.fetch("no-such-package", "usr", tmp_path / "cache" / "tiny")
    assert names_in(tmp_path / "cache") == []


def test_a_package_that_was_changed_is_refused(archive, tmp_path):
    packages = archive / "Packages"
    packages.write_text(packages.read_text().replace("SHA256: ", "SHA256: 0").rstrip("\n")[:-1] + "\n")
    with pytest.raises(DatasetUnavailable, match="apt-get failed"):
        debian.fetch(PACKAGE, "usr/share/datasets/tiny", tmp_path / "cache" / "tiny")


def test_a_cache_that_cant_be_made_is_named(archive, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DatasetUnavailable, match="cache"):
        debian.fetch(PACKAGE, "usr/share/datasets/tiny", tmp_path / "cache" / "tiny")


def test_a_machine_without_apt_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DatasetUnavailable, match="apt-get and dpkg not found"):
        debian.fetch(PACKAGE, "usr", tmp_path / "cache" / "tiny")
