"""Words of the command line before they are parsed."""

import pytest

from tgdp_jax.app.arguments import MOVED, nearest, prepared
from tgdp_jax.errors import UserError


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--methods tgdp,kde --seeds 2", "--methods tgdp kde --seeds 2"),
        ("--methods=tgdp,kde --n_targets 5,10", "--methods tgdp kde --n_targets 5 10"),
        ("--methods tgdp kde", "--methods tgdp kde"),
        # A comma elsewhere is no list.
        ("--given text=three,seven", "--given text=three,seven"),
        ("--methods tgdp, --out a,b", "--methods tgdp --out a,b"),
    ],
)
def test_lists_may_be_given_with_commas(given, meant):
    assert prepared(given.split()) == meant.split()


@pytest.mark.parametrize("option", MOVED)
def test_options_that_moved_name_their_new_place(option):
    for word in (option, option.replace("-", "_").replace("__", "--", 1), f"{option}=3"):
        with pytest.raises(UserError, match=f"{option} is {MOVED[option]} now"):
            prepared(["run", "gaussians", word])


def test_a_mistyped_name_brings_the_nearest():
    assert nearest("command", "rum", ["run", "sample"]).startswith("unknown command 'rum': did you mean 'run'?")
    assert nearest("command", "xyz", ["run", "sample"]) == "unknown command 'xyz': choose one of run, sample"
