"""What a network may have beside its call. Only the call is required; the rest has defaults or is asked for by name.

A denoiser is called as (x [B, *D], t [B], cond) -> [B, *D], a guidance network as (x [B, *D], t [B], cond) -> [B], a
domain classifier as (x [B, *D], cond) -> [B]. `cond` is None, or labels [B]. Any Linen module with such a call will do.

A network may have an attribute `num_classes`, the number of labels that it knows (0: it is never given any), and an
attribute `data_std`, the standard deviation of the data that it was made for. What else it may have are the protocols
below; whoever needs one says so with `require`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from tgdp_jax.errors import UserError, check_takes

Array = jax.Array


@runtime_checkable
class HasFeatures(Protocol):
    """A denoiser whose inner layers others can stand on or be read by probes."""

    def encode(self, x: Array, t: Array, cond: Any = None) -> list[Array]:
        """Features of inner layers, from input to output."""
        ...


@runtime_checkable
class HasShared(Protocol):
    """A guidance network of which the members of an ensemble have a part in common that no training changes."""

    def shared(self, variables: Any) -> Callable[..., Any] | None:
        """(x, t, cond=None) -> what the common part, with these variables, makes of rows; None: there is no such part.

        The network's call takes it as `given`, and does not compute it then.
        """
        ...


@runtime_checkable
class HasModalities(Protocol):
    """A denoiser that takes a time for each modality, t [B, M]."""

    @property
    def modalities(self) -> Any:
        """What rows are made of, a `data.modalities.Modalities`."""
        ...


@runtime_checkable
class HasToken(Protocol):
    """A denoiser that can have a new token, see `nets.embedding.Prompt`; its variables are then below "token"."""

    @property
    def new_token(self) -> bool:
        """Whether it has one."""
        ...


@runtime_checkable
class HasConstants(Protocol):
    """A network with variables that no training changes, beside its parameters."""

    @property
    def constants(self) -> tuple[str, ...]:
        """The collections that they are in."""
        ...


@runtime_checkable
class HasClasses(Protocol):
    """A network that knows how many labels there are."""

    @property
    def num_classes(self) -> int:
        """Labels are in [0, num_classes)."""
        ...


@runtime_checkable
class HasLatent(Protocol):
    """A generator of a GAN, called as (z [B, latent], cond) -> [B, *D]."""

    @property
    def latent(self) -> int:
        """Numbers in a latent vector."""
        ...


def require(net: Any, protocol: type, use: str) -> None:
    """Refuses a network that lacks what it is used for.

    Args:
      net: the network.
      protocol: one of this file's.
      use: what needs it, the subject of a sentence.

    Raises:
      UserError: it lacks it.
    """
    if not isinstance(net, protocol):
        missing = ", ".join(name for name in vars(protocol) if not name.startswith("_"))
        raise UserError(
            f"{use} needs a network with {missing}, as nets.protocols.{protocol.__name__} says, and "
            f"{type(net).__name__} has none"
        )


def num_classes(net: Any) -> int:
    """The network's attribute `num_classes`: how many labels it knows; 0 for a network without it."""
    return getattr(net, "num_classes", 0)


def data_std(net: Any) -> Any:
    """The network's attribute `data_std`: the scale of the data that it was made for. A network without it has 1."""
    return getattr(net, "data_std", 1.0)


def sees_labels(net: Any, labelled: bool) -> bool:
    """Whether a network is given labels as cond: the one place where that is decided.

    A network with an attribute `num_classes` says so by it. Any other is given the labels [B], integers, of rows that
    have them.

    Args:
      net: the network.
      labelled: whether the rows have labels.
    """
    return net.num_classes > 0 if isinstance(net, HasClasses) else labelled


def first_labels(net: Any, labelled: bool) -> Array | None:
    """The cond that a network is initialised with: one label [1], or None."""
    return jnp.zeros((1,), jnp.int32) if sees_labels(net, labelled) else None


def check_call(net: Any, what: str, arguments: str) -> None:
    """Refuses a network whose call takes other arguments.

    Raises:
      UserError: it does, such as "a denoising network takes (x, t, cond)".
    """
    if callable(net):
        check_takes(net, what, arguments)
