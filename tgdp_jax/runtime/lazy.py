"""What is known by name and imported when it is first used, so that names can be checked without waiting for JAX.

A place is written "module:attribute".
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def imported(place: str) -> Any:
    """What is at a place: "module:attribute", or a module alone."""
    module, _, attribute = place.partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def late(place: str) -> Callable[..., Any]:
    """The function at a place, which is imported when it is first called."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return imported(place)(*args, **kwargs)

    return call


class Registry(Mapping[str, T]):
    """Names and what they stand for, which is imported when it is looked up; asking for the names imports nothing.

    Args:
      places: name -> "module:attribute".
    """

    def __init__(self, places: Mapping[str, str]):
        self._places = dict(places)

    def __getitem__(self, name: str) -> T:
        return imported(self._places[name])

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def public(package: str, names: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose public names are imported when they are first used.

    Args:
      package: its name.
      names: of each of its modules, which are public too where they lie in the package itself.
    """
    places = {module: f"{package}.{module}" for module in names if "." not in module}
    places |= {name: f"{package}.{module}:{name}" for module, those in names.items() for name in those}

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"{package} has no {name!r}: it has {', '.join(places)}")
        value = imported(places[name])
        setattr(sys.modules[package], name, value)
        return value

    return get
