"""What a sentence says of a file that could not be written."""

import errno
import os

import pytest

from tgdp_jax.errors import UserError, write_remedy
from tgdp_jax.runtime.files import write_json


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "full"), True),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), True),
        (ValueError(f"RESOURCE_EXHAUSTED: {os.strerror(errno.ENOSPC)}"), True),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), False),
        (ValueError("no such layer"), False),
    ],
)
def test_room_helps_only_where_there_is_none(error, full):
    assert ("free some space" in write_remedy(error)) == full
    assert "choose another place" in write_remedy(error)


def test_a_file_below_a_file_and_a_folder_are_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"can not be written \(.*\): choose another place$"):
        write_json(tmp_path / "file" / "below.json", {})
    with pytest.raises(UserError, match=r"can not be written \(it is a folder\): give the name of a file"):
        write_json(tmp_path, {})
