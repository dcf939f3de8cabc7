"""A generative adversarial network as a task of the one training loop, and how its samples are watched.

Two players with a loss each (Goodfellow et al. 2014), the generator G with weights theta, the discriminator D with phi:

    d phi ~ - grad_phi L_D(theta, phi),      d theta ~ - grad_theta L_G(theta, phi).

Both are the gradient of one function, L_D(sg(theta), phi) + L_G(theta, sg(phi)) with sg = stop_gradient, so a step
of the loop is a step of the game, both players at once, each with an Adam of its own. With the penalty R1 gradient
descent converges near the equilibrium, at once as well as in turns (Mescheder et al. 2018, theorem 4.1); averaged
weights damp what still circles around it.

Neither loss says how good the samples are. What does is the energy score of held-out rows (`losses.energy_score`), a
proper score that needs samples alone and is defined for a single row: by it the step is chosen. Its latent vectors are
the same at every call, so that its curve is smooth.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tgdp_jax import losses
from tgdp_jax.data.augment import Augmentation, augment
from tgdp_jax.errors import named_or_own
from tgdp_jax.nets.protocols import HasClasses, HasLatent, data_std, first_labels, num_classes, require
from tgdp_jax.registry import ADVERSARIAL_LOSSES
from tgdp_jax.train.batches import Rows, draw_rows, mean_weights
from tgdp_jax.train.fit import Task
from tgdp_jax.train.optimiser import Course, OptimiserConfig, make_optimiser

Array = jax.Array
GENERATOR, DISCRIMINATOR = "generator", "discriminator"
JUDGED = 512  # samples behind the energy score, of all classes together
FEWEST = 32  # of each class
SHOWN = 256  # rows at the most, and samples at the least, behind the figures of spread
NEIGHBOURS = 5


class Players(NamedTuple):
    """The networks of a GAN: a generator (z, cond) -> x and a discriminator (x, cond) -> logit. Static."""

    generator: Any
    discriminator: Any

    def generate(self, params: Any, z: Array, cond: Array | None) -> Array:
        """Samples [B, *D] from latent vectors z [B, latent]."""
        return self.generator.apply({"params": params[GENERATOR]}, z, cond)


class Spread(NamedTuple):
    """How far samples reach.

    Attributes:
      diversity: mean distance of two samples over that of two rows; 1 where the distributions agree, 0 where all
        samples are one.
      coverage: share of rows with a sample in the ball that reaches to their 5th nearest row (Naeem et al. 2020),
        ties broken by lot as in `metrics.coverage`.
    """

    diversity: Array
    coverage: Array


@jax.jit
def spread(x: Array, fake: Array) -> Spread:
    """Of samples [M, *D], beside rows x [R, *D], R >= 2."""

    def mean(d: Array) -> Array:
        return jnp.sum(d) / (d.shape[0] * (d.shape[0] - 1)) + 1e-12

    rows = losses.distances(x, x) * (1.0 - jnp.eye(x.shape[0]))
    return Spread(mean(losses.distances(fake, fake)) / mean(rows), jnp.mean(_reached(x, fake)))


def _reached(x: Array, fake: Array) -> Array:
    """Chance [R] that a sample [M, *D] comes before the k-th nearest other row of x [R, *D], what ties in any order."""
    k, middle = min(NEIGHBOURS, x.shape[0] - 1), jnp.mean(x, 0)
    x, fake = (a.reshape(a.shape[0], -1) for a in (x - middle, fake - middle))
    own = jnp.sum(x**2, -1)[:, None]
    rounding = 4 * math.sqrt(x.shape[1] + 2) * jnp.finfo(x.dtype).eps

    def squares(y: Array) -> tuple[Array, Array]:
        sums = own + jnp.sum(y**2, -1)
        return sums - 2 * jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST), rounding * sums

    others, slack = squares(x)
    others = jnp.where(jnp.eye(x.shape[0], dtype=bool), jnp.inf, others)
    radius = jnp.sort(others, -1)[:, k - 1 : k]
    nearer, equal = (jnp.sum(mask, -1) for mask in (others < radius - slack, jnp.abs(others - radius) <= slack))
    theirs, slack = squares(fake)
    inside, tied = jnp.any(theirs < radius - slack, -1), jnp.sum(jnp.abs(theirs - radius) <= slack, -1)
    # None of the samples that tie is among the first k - nearer of a random order of all that tie.
    j = jnp.arange(k)[:, None]
    none = jnp.where(j < k - nearer, (equal - j) / jnp.maximum(equal + tied - j, 1), 1.0).prod(0)
    return jnp.where(inside, 1.0, 1.0 - none)


def shown_rows(num: int) -> Array:
    """Numbers of the rows that samples are watched beside, at most `SHOWN` of `num`."""
    chosen = np.random.default_rng(0).permutation(num)[:SHOWN]
    return jax.device_put(chosen)


@functools.partial(jax.jit, static_argnames="players")
def shown_samples(players: Players, params: Any, data: Any) -> tuple[Array, Array | None]:
    """(samples [M, *D], labels) to stand beside the R rows data["shown"], with labels as these have; M >= 2 R."""
    shown = data["shown"]
    num = max(SHOWN, 2 * len(shown))
    y = data["y"][shown[jnp.arange(num) % len(shown)]] if "y" in data else None
    return players.generate(params, _latents(num, players.generator), y), y


def _latents(num: int, generator: Any) -> Array:
    """The same at every call."""
    return jax.random.normal(jax.random.key(7), (num, generator.latent))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Game:
    """The rules. Static.

    Attributes:
      loss: a name in `registry.ADVERSARIAL_LOSSES`, or an `AdversarialLoss`.
      penalty: weight of the penalty on the discriminator's slope.
      discriminator_steps: steps of the discriminator for one of the generator.
    """

    loss: str | losses.AdversarialLoss = "non_saturating"
    penalty: float = 1.0
    discriminator_steps: int = 1


@functools.cache
def gan_task(
    players: Players, game: Game, batch_size: int, dim: tuple[int, ...], augmentation: str | Augmentation = "none"
) -> Task:
    """Trains both players.

    Trainable: {"generator", "discriminator"}; frozen: the discriminator's layers that stay as they are, {} for none.
    Data {"x", "y"?, "shown": row numbers for `spread`, "train": Rows, "held": Rows}; a member's own "train"/"held" take
    precedence.
    """
    rule = named_or_own("adversarial loss", game.loss, ADVERSARIAL_LOSSES, losses.AdversarialLoss)
    net = players.generator
    require(net, HasLatent, "a generator")

    def init(key: Array) -> Any:
        keys = jax.random.split(key)
        labels = first_labels(net, False)
        return {
            GENERATOR: net.init(keys[0], jnp.zeros((1, net.latent)), labels)["params"],
            DISCRIMINATOR: players.discriminator.init(keys[1], jnp.zeros((1, *dim)), labels)["params"],
        }

    def logit(params: Any, frozen: Any, x: Array, y: Array | None) -> Array:
        return players.discriminator.apply({"params": {**params[DISCRIMINATOR], **frozen}}, x, y)

    def rows(data: Any, member: Any, name: str) -> Rows:
        return data[name] if member is None else member[name]

    def labels(data: Any, index: Array) -> Array | None:
        if "y" not in data:
            return None
        require(net, HasClasses, "a GAN of rows with labels")
        return data["y"][index]

    def draw(key: Array, data: Any, member: Any) -> Any:
        row_key, latent_key, share_key, augment_key = jax.random.split(key, 4)
        drawn = draw_rows(row_key, rows(data, member, "train"), batch_size)
        x = augment(augment_key, data["x"][drawn], kind=augmentation)
        z = jax.random.normal(latent_key, (batch_size, net.latent))
        return x, labels(data, drawn), z, jax.random.uniform(share_key, (batch_size,))

    def loss(params: Any, frozen: Any, batch: Any, step: Array, member: Any) -> dict[str, Array]:
        x, y, z, share = batch
        fake = players.generate(params, z, y)
        fixed = jax.lax.stop_gradient(fake)
        at = x
        if rule.between:
            share = share.reshape((-1,) + (1,) * (x.ndim - 1))
            at = share * x + (1.0 - share) * fixed
        # By coordinates of unit scale, so that a penalty's weight means the same in any units.
        slope = data_std(net) * jax.grad(lambda point: jnp.sum(logit(params, frozen, point, y)))(at)
        return {
            DISCRIMINATOR: rule.discriminator(logit(params, frozen, x, y), logit(params, frozen, fixed, y)),
            "penalty": game.penalty * rule.penalty(slope),
            GENERATOR: rule.generator(logit(jax.lax.stop_gradient(params), frozen, fake, y)),
        }

    def held_out(data: Any, member: Any) -> tuple[Any, Array]:
        kept = rows(data, member, "held")
        return (data["x"][kept.index], labels(data, kept.index)), mean_weights(kept)

    def evaluate(params: Any, frozen: Any, batch: Any) -> Array:
        x, y = batch
        if y is None:
            return losses.energy_score(x, players.generate(params, _latents(JUDGED, net), None))
        count = num_classes(net)
        each = max(FEWEST, JUDGED // count)
        classes = jnp.repeat(jnp.arange(count), each)
        fake = players.generate(params, _latents(len(classes), net), classes)
        scores = jax.vmap(lambda part: losses.energy_score(x, part))(fake.reshape(count, each, *dim))
        return jnp.take_along_axis(scores, y[None], 0)[0]

    def monitor(params: Any, frozen: Any, data: Any, held: tuple[Any, Array]) -> dict[str, Array]:
        shown = data["shown"]
        fake, y = shown_samples(players, params, data)
        (held_x, held_y), weights = held
        return {
            "logit_of_training_rows": jnp.mean(logit(params, frozen, data["x"][shown], labels(data, shown))),
            "logit_of_held_out_rows": jnp.sum(weights * logit(params, frozen, held_x, held_y)),
            "logit_of_samples": jnp.mean(logit(params, frozen, fake, y)),
            **spread(data["x"][shown], fake)._asdict(),
        }

    def optimiser(config: OptimiserConfig, along: Course, weight_decay: Array | None) -> optax.GradientTransformation:
        every = game.discriminator_steps
        # Without Adam's first average: the other player moves, and old gradients mislead.
        own = functools.partial(make_optimiser, config, weight_decay=weight_decay, b1=0.0, b2=0.99)
        generator = own(along.shortened(jnp.maximum(1, along.steps // every)))
        if every > 1:
            generator = optax.conditionally_mask(generator, lambda step, **_: jnp.asarray(step) % every == every - 1)
        names = {GENERATOR: GENERATOR, DISCRIMINATOR: DISCRIMINATOR}
        return optax.partition({GENERATOR: generator, DISCRIMINATOR: own(along)}, names)

    return Task(
        init=init, draw=draw, loss=loss, held_out=held_out, evaluate=evaluate, optimiser=optimiser, monitor=monitor
    )
