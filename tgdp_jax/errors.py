"""The one exception for what a user can put right, and what raises it everywhere."""

from __future__ import annotations

import dataclasses
import errno
import functools
import inspect
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class UserError(Exception):
    """A wrong input, setting or file; the message is one sentence with the cause and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """


class FileError(UserError):
    """A file that can not be read or written: no fault of the method that was at work."""


def absent(path: Any) -> FileError:
    """To be raised where nothing is at a path that was given."""
    return FileError(f"{path} does not exist: check the path")


def first_line(error: BaseException) -> str:
    """What an error says, as a part of a sentence: the system's words where there are such."""
    for code in _FULL:
        if _is_full(error, code):
            return os.strerror(code)
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return said.splitlines()[0][:200]


def write_remedy(error: BaseException) -> str:
    """What helps where this error kept a file from being written: room where the disk or the quota is full."""
    if isinstance(error, FileNotFoundError):  # made before the work began
        return "its folder was removed meanwhile, so run the same command again"
    if any(_is_full(error, code) for code in _FULL):
        return "free some space or choose another place"
    return "choose another place"


_FULL = (errno.ENOSPC, errno.EDQUOT)


def _is_full(error: BaseException, code: int) -> bool:
    # Storage layers keep the system's words alone.
    return getattr(error, "errno", None) == code or os.strerror(code) in str(error)


# What the compiler, the system, C++, the threads' libraries and the loader say where no more memory is to be had.
_NO_MEMORY = (
    *("RESOURCE_EXHAUSTED", "Out of memory", os.strerror(errno.ENOMEM), "bad_alloc", "can't start new thread"),
    *("pthread_create", "failed to map segment"),
)
MORE_MEMORY = (
    "leave more of it to this process, or ask for fewer samples, a smaller --sampling.chunk or smaller networks"
)


def says_no_memory(text: str) -> bool:
    """Whether this is how a library says that memory ran out."""
    return any(words in text for words in _NO_MEMORY)


def out_of_memory(error: BaseException | None) -> bool:
    """Whether this error says that memory ran out, or one that it came of, whoever raised them."""
    if error is None or any(_is_full(error, code) for code in _FULL):
        return False
    if isinstance(error, MemoryError) or says_no_memory(str(error)):
        return True
    return out_of_memory(error.__cause__ or error.__context__)


@contextmanager
def explained() -> Iterator[None]:
    """For the outermost call: what others raise becomes a `UserError` where the cause and the remedy are known."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise UserError(f"out of memory ({first_line(error)}): {MORE_MEMORY}") from error
        # Known by name: Flax takes long to import, and few commands need it.
        if type(error).__name__ not in ("ScopeParamNotFoundError", "ScopeParamShapeError"):
            raise
        # Stages are found by their settings, of which a network has the same in every version.
        raise UserError(
            f"stored weights do not fit their network ({str(error).split('. (http')[0]}): another version of tgdp_jax "
            "trained them; delete the folder's checkpoints to train them anew, or choose another folder"
        ) from error


def choose(kind: str, name: str, options) -> None:
    """Refuses a `name` that is not among `options`, listing what exists.

    Raises:
      UserError: `name` is unknown.
    """
    if name not in options:
        known = ", ".join(sorted(options))
        raise UserError(f"unknown {kind} {name!r}: choose one of {known}")


def named_or_own(kind: str, given: Any, options: Mapping[str, T], own: str | type[T]) -> T:
    """The option of a registered name, or the caller's own in its place.

    Args:
      kind: what it is, for the message, such as "time grid".
      given: a name in `options`, or the thing itself.
      options: the registry.
      own: what the thing itself is: a type, or the arguments of a function, such as "(sde, num_steps)".

    Raises:
      UserError: an unknown name, or something else than `own`.
    """
    if isinstance(given, str):
        choose(kind, given, options)
        return options[given]
    if isinstance(own, str) and callable(given):
        check_takes(given, f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}", own)
        return given  # type: ignore[return-value]
    if not isinstance(own, str) and isinstance(given, own):
        return given
    form = f"a function of {own}" if isinstance(own, str) else f"a {own.__name__}"
    raise UserError(f"{kind} is {given!r}: give one of {', '.join(sorted(options))}, or {form}")


def check_takes(fn: Callable[..., Any], what: str, arguments: str) -> None:
    """Refuses a function that can not be called with the positional arguments that are named.

    Args:
      fn: the function.
      what: what it is, with an article, such as "a score".
      arguments: such as "(x, t, cond)".

    Raises:
      UserError: its signature does not fit.
    """
    if not takes(fn, arguments.count(",") + 1):
        name = getattr(fn, "__name__", type(fn).__name__)
        raise UserError(f"{what} takes {arguments}, but {name} takes {inspect.signature(fn)}: change its arguments")


def takes(fn: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with so many positional arguments; true where it does not say."""
    own = inspect.isroutine(fn) or isinstance(fn, (type, functools.partial))
    if own or hasattr(fn, "__signature__") or hasattr(fn, "__wrapped__"):
        return _takes(fn, count)
    return _instance_takes(type(fn), count)


@functools.lru_cache  # the answer is the same for all instances, and asked for at every call of a sampler
def _instance_takes(kind: type, count: int) -> bool:
    return _takes(kind.__call__, 1 + count)


def _takes(fn: Callable[..., Any], count: int) -> bool:
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def check_finite(value: Any, name: str = "") -> None:
    """Refuses NaN, infinity and integers beyond 32 bits, also anywhere in tuples and dataclasses of settings.

    Files of settings are JSON, which has neither NaN nor infinity: a folder that was made with them could not be
    continued. Compiled programs count in 32 bits, seeds without a sign, which are checked where they are given.

    Raises:
      UserError: there is one, with its option.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name} is {value}: give a finite number")
    if type(value) is int and abs(value) >= 2**31 and not name.endswith("seed"):
        raise UserError(f"{name} is {value}: give a number below 2^31")
    if isinstance(value, (tuple, list)):
        for part in value:
            check_finite(part, name)
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            check_finite(getattr(value, field.name), f"{name}.{field.name}".removeprefix(".").replace("_", "-"))
