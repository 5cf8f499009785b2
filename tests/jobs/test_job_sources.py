"""Which files are the pictures of a job, and what is said when there are none."""

import os
import subprocess
import sys

import pytest

from service.errors import SettingsError
from service.jobs.sources import find_pictures


@pytest.fixture
def folder(tmp_path):
    for name in (
        "b.jpg",
        "a.PNG",
        "notes.txt",
        "sub/deep/c.webp",
        "sub/d.JPEG",
        ".hidden.png",
        ".cache/e.png",
        "[1]/f.gif",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def names(folder, found):
    return [os.fspath(path.relative_to(folder)) for path in found]


def test_a_folder_is_searched_to_the_bottom_and_sorted(folder):
    expected = ["[1]/f.gif", "a.PNG", "b.jpg", "sub/d.JPEG", "sub/deep/c.webp"]
    assert names(folder, find_pictures(str(folder))) == expected


def test_a_name_that_looks_like_a_pattern_is_still_a_folder(folder):
    assert names(folder, find_pictures(f"{folder}/[1]")) == ["[1]/f.gif"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["b.jpg"]),
        ("**/*.webp", ["sub/deep/c.webp"]),
        ("notes.txt", ["notes.txt"]),  # one file, whatever its suffix: the user named it
        ("sub/*", ["sub/d.JPEG"]),  # folders are no pictures
    ],
)
def test_a_glob_means_what_it_matches(folder, pattern, expected):
    assert names(folder, find_pictures(f"{folder}/{pattern}")) == expected


def test_a_relative_path_stays_relative(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert [os.fspath(path) for path in find_pictures("sub")] == ["sub/d.JPEG", "sub/deep/c.webp"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("absent", "there is no such file or folder"),
        ("*.tiff", "no file matches it as a pattern"),
        ("empty", "no file below it ends in .jpg, .jpeg, .png, .webp, .bmp, .gif"),
    ],
)
def test_no_pictures_are_an_error(folder, source, said):
    (folder / "empty").mkdir()
    with pytest.raises(SettingsError) as caught:
        find_pictures(f"{folder}/{source}")
    assert said in str(caught.value)
    assert f"{folder}/{source}" in str(caught.value)


def test_a_link_to_nowhere_is_kept_so_that_it_becomes_a_row_with_its_error(folder):
    (folder / "lost.png").symlink_to(folder / "nowhere")
    assert "lost.png" in names(folder, find_pictures(str(folder)))


def test_a_pipe_that_would_never_end_is_passed_over(folder):
    os.mkfifo(folder / "pipe.png")
    assert "pipe.png" not in names(folder, find_pictures(str(folder)))


def test_a_loop_of_links_ends(folder):
    (folder / "sub" / "up").symlink_to(folder)
    assert len(find_pictures(str(folder))) == 5


def test_a_folder_that_can_not_be_read_is_an_error_and_not_left_out(tmp_path):
    """In a process without root's rights, for whom no folder is closed."""
    tmp_path.chmod(0o755)
    (tmp_path / "pictures" / "closed").mkdir(parents=True)
    (tmp_path / "pictures" / "a.png").write_bytes(b"x")
    (tmp_path / "pictures" / "closed").chmod(0)
    program = (
        "import os, sys; from service.errors import SettingsError; from service.jobs.sources import find_pictures\n"
        "os.chdir(sys.argv[1])\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "try: print(find_pictures('pictures'))\n"
        "except SettingsError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    (tmp_path / "pictures" / "closed").chmod(0o755)
    assert done.stdout == "folder 'pictures/closed' can't be read: Permission denied\n"
