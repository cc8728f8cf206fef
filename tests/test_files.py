"""Whole files or none: what `files.writing` leaves behind, and what it says."""

import errno
import os

import pytest

from t2ui.errors import InputError
from t2ui.files import CannotWrite, abandoned, writing


class SafetensorError(Exception):
    """Named as the one that safetensors wraps the system's error in."""


def test_a_file_appears_whole_and_its_folders_with_it(tmp_path):
    path = tmp_path / "a" / "b" / "file.txt"
    with writing(path) as beside:
        assert not path.exists() and beside.parent == path.parent
        beside.write_text("whole")
        assert abandoned(path) == [beside]
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_appears_whole(tmp_path):
    place = tmp_path / "model"
    with writing(place) as building:
        building.mkdir()
        (building / "part").write_text("1")
        assert not place.exists()
    assert (place / "part").read_text() == "1" and list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
        OSError("No space left on device"),
    ],
)
def test_a_full_disk_keeps_the_old_file_and_is_one_line(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(CannotWrite) as caught, writing(path) as beside:
        beside.write_text("half")
        raise error
    assert isinstance(caught.value, InputError) and isinstance(caught.value, OSError)
    said = str(caught.value)
    assert said.startswith(f"{path} cannot be written (") and "\n" not in said
    assert "No space left on device" in said
    assert said.endswith("): free some space, or choose another place.")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    other = str(caught.value.with_remedy("go home"))
    assert other == said.replace("free some space, or choose another place", "go home")


def test_a_folder_where_nothing_may_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(CannotWrite, match=r"x\.txt cannot be written \(File exists\): go home\."),
        writing(tmp_path / "file" / "x.txt", "go home"),
    ):
        raise AssertionError("the block must not run")


def test_a_file_that_cannot_be_renamed_leaves_nothing(tmp_path, monkeypatch):
    def fail(source, target):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", fail)
    with (
        pytest.raises(CannotWrite, match="Permission denied"),
        writing(tmp_path / "x.txt") as beside,
    ):
        beside.write_text("whole")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug"), InputError("bad")])
def test_whatever_else_is_raised_stays_what_it_is_and_leaves_nothing(tmp_path, error):
    with pytest.raises(type(error)) as caught, writing(tmp_path / "model") as beside:
        beside.mkdir()
        (beside / "half").write_text("half")
        raise error
    assert caught.value is error and list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_found(tmp_path):
    left = tmp_path / ".model.123.tmp"
    left.mkdir()
    (tmp_path / ".models.1.tmp").touch()  # of another path
    assert abandoned(tmp_path / "model") == [left]
