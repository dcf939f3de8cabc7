# %% [markdown]
# # Your own network, loss, optimiser, solver and guidance
#
# Everything that the library takes by name, it also takes as a value. This example composes five values of its own.
# `--small` trains for a few steps only.

# %%
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import tgdp_jax as tg
from tgdp_jax.train.optimiser import OptimiserConfig

SMALL = "--small" in sys.argv
STEPS = 200 if SMALL else 3000
key, vp = jax.random.key(0), tg.sde.VP()
source = 0.5 * jax.random.normal(jax.random.key(1), (5000, 2))

# %% [markdown]
# ## A network
#
# Any Linen module works that maps (x [B, D], t [B], cond) to a noise prediction of the shape of x.


# %%
class MyNet(nn.Module):
    @nn.compact
    def __call__(self, x, t, cond=None):
        h = jnp.concatenate([x, t[:, None], jnp.cos(jnp.pi * t)[:, None]], axis=-1)
        for width in (64, 64):
            h = nn.gelu(nn.Dense(width)(h))
        return nn.Dense(x.shape[-1])(h)


# %% [markdown]
# ## A loss and an optimiser
#
# The loss has one value a row. This one is close to the squared error and less impressed by outliers. Any optax
# optimiser works; it sets its own learning rate.


# %%
def pseudo_huber(eps_hat, eps):
    return jnp.mean(jnp.sqrt(1.0 + jnp.square(eps_hat - eps)) - 1.0, axis=-1)


optimiser = OptimiserConfig(steps=STEPS, steps_per_launch=100).using(optax.adamw(2e-3))
fitted = tg.fit_denoiser(key, MyNet(), vp, source, loss=pseudo_huber, optimiser=optimiser)

# %% [markdown]
# ## Guidance
#
# Guidance takes a score and returns a score. Here log h is known exactly: the target is the source's N(0, 0.25 I) times
# exp(2 x_1), which is N((0.5, 0), 0.25 I), and log h is log E[exp(2 x_1) | x_t] up to a constant.


# %%
def log_h(x, t, cond=None):
    alpha, sigma = vp.alpha(t), vp.sigma(t)
    return 2.0 * 0.25 * alpha / (0.25 * alpha**2 + sigma**2) * x[:, 0]


guided = tg.log_ratio_guidance(log_h)(fitted.score)

# %% [markdown]
# ## A solver
#
# A solver is one step from time `point.t` to time `point.s`. `predict` gives the clean data and the noise that the
# score sees. This is DDIM: it keeps the noise and moves to the new time.


# %%
def my_step(sde, predict, point, x, memory, noise):
    x0, eps = predict(x, point.t)
    return sde.alpha(point.s) * x0 + sde.sigma(point.s) * eps, memory


samples = tg.sample(key, guided, vp, 2000, (2,), solver=my_step, num_steps=50)
print("mean of the source ", source.mean(0))
print("mean of the samples", samples.mean(0), "(ideally 0.5 and 0)")
