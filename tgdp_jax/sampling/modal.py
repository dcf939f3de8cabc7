"""Some modalities of a row given others, and some alone, from one score with a time for each (Bao et al. 2023).

With s(x^1, ..., x^M; t_1, ..., t_M) the gradient of the log density of the row whose i-th modality is noised to t_i,

    t_i = t for all                     score of the joint at t,
    t_j = t_min, x^j clean              score of the others at t given x^j,
    t_j = 1, x^j ~ the prior            score of the others at t alone: x^j tells nothing of them.

Classifier-free guidance (Ho & Salimans 2022) needs no network of its own then: s(x | y) and s(x) are both known,
and s(x) + w (s(x | y) - s(x)) is the score of p(x) p(y | x)^w, up to a constant and up to the noise in x.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.data.modalities import Modalities
from tgdp_jax.errors import UserError
from tgdp_jax.guidance import combine_scores
from tgdp_jax.prediction import ScoreFn, as_score
from tgdp_jax.sampling.loop import checked_ids, sample
from tgdp_jax.sde import SDE

Array = jax.Array
HELD = 2**32 - 1  # folded into the key for the noise of modalities that are left out


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HeldScore:
    """Score [B, *D] of rows of which some modalities are held fixed: (x [B, *D], t [B], cond) -> [B, *D].

    What x has in the place of a modality that is held is not looked at, and its score there is nought. Which are drawn,
    given or neither is data: one program for all.

    cond is {"given": clean rows [B, *D], "noise": unit noise [B, *D], "label": [B] or None}.

    Attributes:
      score: (x [B, *D], t [B, M], label) -> [B, *D], a pytree.
      drawn: whether a modality is, [M].
      given: whether a modality is known, [M]; one that is neither is nothing but noise.
      modalities: of a row.
      sde: the process.
    """

    score: Any
    drawn: Array
    given: Array
    modalities: Modalities = dataclasses.field(metadata={"static": True})
    sde: SDE = dataclasses.field(metadata={"static": True})

    def __call__(self, x: Array, t: Array, cond: Any = None) -> Array:
        def spread(mask: Array) -> Array:
            return self.modalities.spread(mask[None], x.shape[1:])

        # At t_min a modality is alpha times the clean one, and noise too little to matter.
        known = self.sde.alpha(jnp.asarray(self.sde.t_min)) * cond["given"]
        held = jnp.where(spread(self.given), known, self.sde.prior_scale * cond["noise"])
        row = jnp.where(spread(self.drawn), x, held)
        times = jnp.where(self.drawn, t[:, None], jnp.where(self.given, self.sde.t_min, 1.0))
        return jnp.where(spread(self.drawn), self.score(row, times, cond["label"]), 0.0)


def sample_modalities(
    key: Array,
    score: ScoreFn,
    sde: SDE,
    ids: Any,
    modalities: Modalities,
    shape: tuple[int, ...],
    *,
    drawn: Sequence[str] | None = None,
    given: Mapping[str, Any] | None = None,
    scale: float = 1.0,
    labels: Any = None,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> dict[str, np.ndarray]:
    """Draws modalities given others, with those that are neither drawn nor given left out of account.

    Args:
      key: typed PRNG key.
      score: (x [B, *D], t [B, M], label) -> [B, *D], such as a `NetworkScore` of `EpsMultimodal`.
      sde: its process.
      ids: sample identities [N]; sample i depends on (key, ids[i], what is given to it, labels[i]) alone.
      modalities: of a row.
      shape: *D of a row.
      drawn: names to draw; None: all that are not given.
      given: name to clean values [N, *theirs], in the models' units.
      scale: w of classifier-free guidance towards what is given; 1 is exact, 0 leaves it out of account.
      labels: [N] of a conditional problem.
      progress: called with the number of samples finished.
      options: further arguments of `sampling.sample`.

    Returns:
      Name to samples [N, *shape of the modality].

    Raises:
      UserError: unknown names, nothing to draw, a modality both drawn and given, values of another shape, or guidance
        towards nothing.
    """
    given = {} if given is None else dict(given)
    names = modalities.names if drawn is None else tuple(drawn)
    for name in (*names, *given):
        modalities.named(name)
    both = set(given) & set(names if drawn is not None else ())
    names = tuple(name for name in modalities.names if name in names and name not in given)
    if both or not names:
        what = f"{both.pop()} is both given and asked for" if both else "all modalities are given"
        raise UserError(f"{what}: ask for one of {', '.join(modalities.names)} that is not given")
    if scale != 1.0 and not given:
        raise UserError(f"a guidance scale of {scale:g} needs something to guide towards: give a modality, or scale 1")
    ids = checked_ids(ids, labels)
    for name, value in given.items():
        wanted = (len(ids), *modalities.named(name).shape)
        if np.shape(value) != wanted:
            raise UserError(f"{name} is given with shape {np.shape(value)}: it must be {wanted}, one for each sample")
    clean = {part.name: given.get(part.name, np.zeros((len(ids), *part.shape))) for part in modalities.parts}
    cond = {
        "given": np.asarray(modalities.join(clean, tuple(shape)), np.float32),
        "noise": np.asarray(_noise(key, jnp.asarray(ids), tuple(shape))),
        "label": labels,
    }

    def among(group: Container[str]) -> Array:
        return jnp.array([name in group for name in modalities.names])

    def held(known: Container[str]) -> HeldScore:
        return HeldScore(as_score(score), among(names), among(known), modalities, sde)

    guided: ScoreFn = held(given) if scale == 1.0 else combine_scores(held(()), held(given), scale=scale)
    x = sample(key, guided, sde, ids, shape, cond=cond, progress=progress, **options)
    return {name: part for name, part in modalities.split(x).items() if name in names}


@functools.partial(jax.jit, static_argnames="shape")
def _noise(key: Array, ids: Array, shape: tuple[int, ...]) -> Array:
    """Unit noise [N, *shape] that is held for whole paths, one key a sample, apart from those of the sampler."""
    own = jax.random.fold_in(key, HELD)
    return jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(own, i), shape))(ids)
