"""What is no regular file is refused before it is opened, with what it is."""

import os

import pytest

from tgdp_jax.data.files import check_regular_file
from tgdp_jax.errors import FileError


def test_the_size_of_a_file_comes_back(tmp_path):
    (tmp_path / "a").write_bytes(bytes(17))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert check_regular_file(tmp_path / "a") == check_regular_file(tmp_path / "link") == 17


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "ring").symlink_to(tmp_path / "ring")
    for name, message in {
        "": "is a folder: give a regular file",
        "pipe": "pipe is a named pipe: give a regular file",
        "device": "device is a device: give a regular file",
        "nowhere": "nowhere does not exist: check the path",
        "ring": r"ring can not be read \(.*\): check the path and its permissions",
        "x" * 300: r"x can not be read \(.*\): check the path",
        "zero\0byte": r"byte can not be read \(.*\): check the path",
    }.items():
        with pytest.raises(FileError, match=message):
            check_regular_file(tmp_path / name)
