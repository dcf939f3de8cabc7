"""Names are known without importing what they stand for, and every entry of the package is where its registry says."""

import json

import pytest

from tgdp_jax import nets, registry, sampling, transfer
from tgdp_jax.data import augmentations
from tgdp_jax.errors import UserError, named_or_own
from tgdp_jax.nets import registry as nets_registry
from tgdp_jax.runtime.lazy import Registry, late
from tgdp_jax.sampling import registry as sampling_registry
from tgdp_jax.train import registry as train_registry

REGISTRIES = {
    f"{module.__name__}.{name}": value
    for module in (registry, augmentations, nets_registry, sampling_registry, train_registry)
    for name, value in vars(module).items()
    if isinstance(value, Registry)
}


def test_names_are_known_without_what_they_stand_for():
    options = Registry({"dumps": "json:dumps", "gone": "no_such_module:thing"})
    assert list(options) == ["dumps", "gone"] and len(options) == 2
    assert "gone" in options and "other" not in options
    with pytest.raises(UserError, match="unknown writer 'other': choose one of dumps, gone"):
        named_or_own("writer", "other", options, "(value)")
    assert options["dumps"] is json.dumps and named_or_own("writer", "dumps", options, "(value)") is json.dumps
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        options["gone"]
    with pytest.raises(KeyError):
        options["other"]


def test_a_late_function_is_imported_when_it_is_called():
    gone = late("no_such_module:thing")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        gone()
    assert late("json:dumps")({"b": 1, "a": 2}, sort_keys=True) == '{"a": 2, "b": 1}'


@pytest.mark.parametrize("name", REGISTRIES)
def test_every_entry_is_where_its_registry_says(name):
    found = [REGISTRIES[name][key] for key in REGISTRIES[name]]
    assert None not in found and len({id(entry) for entry in found}) == len(found)


@pytest.mark.parametrize("package", [nets, sampling, transfer], ids=lambda package: package.__name__)
def test_every_public_name_of_a_package_is_reachable(package):
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match=r"has no 'smaple': it has "):
        package.smaple  # noqa: B018
