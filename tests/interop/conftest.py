"""What the tests of damaged and hostile files share."""

import resource

import pytest


@pytest.fixture(scope="module")
def little_memory():
    """A module's tests take no more memory than compiling and reading small models does."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kilobytes
