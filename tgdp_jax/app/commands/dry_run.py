"""`tgdp run --dry-run`: what a run would take, by the compiler's own analysis. Weights are not loaded."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tgdp_jax.app.console import print_line
from tgdp_jax.data.memory import readable
from tgdp_jax.data.problem import Problem
from tgdp_jax.data.registry import load_problem
from tgdp_jax.errors import UserError, choose
from tgdp_jax.interop.pipeline import TextPipeline, decoded
from tgdp_jax.interop.weights import headers_alone
from tgdp_jax.sampling.steps import make_solver
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.train.batches import Rows
from tgdp_jax.train.denoising import prior_preservation_task
from tgdp_jax.train.fit import start, train_step
from tgdp_jax.train.optimiser import course
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.adaptation import Adaptation
from tgdp_jax.transfer.exports import WAYS
from tgdp_jax.transfer.latents import planned
from tgdp_jax.transfer.networks import denoiser_score, denoiser_shapes
from tgdp_jax.transfer.pretrained import pretrained_model


class Estimate(NamedTuple):
    """What a program takes.

    Attributes:
      flops: floating-point operations.
      memory: bytes at its peak: what it is given, makes on the way and returns.
    """

    flops: float
    memory: int


def dry_run(config: RunConfig) -> None:
    """Prints what a run's training and samples take.

    Raises:
      UserError: whatever keeps the run from being begun; or a method that trains other networks than the source's.
    """
    choose("method", config.method, METHODS)
    with headers_alone():
        found = load_problem(config.problem, n_target=config.n_target, seed=config.seed, source_seed=config.source_seed)
        problem = planned(config, found)
        METHODS[config.method].stages(config, problem)  # says what does not fit
        for name, value in estimates(config, problem).items():
            said = f"{value:,}" if isinstance(value, int) else f"{_operations(value.flops)}, {readable(value.memory)}"
            print_line(f"{name}: {said}")
    print_line("memory is that of one program on one device; checkpoints and what the system holds come on top")


def estimates(config: RunConfig, problem: Problem) -> dict[str, int | Estimate]:
    """Numbers of parameters, and what a step of training, a sample and its decoding take, by what they are of.

    Args:
      config: settings of the run.
      problem: planned, see `transfer.latents`.

    Raises:
      UserError: see `dry_run`.
    """
    base = denoiser_shapes(config, problem)
    out: dict[str, int | Estimate] = {"parameters of the denoiser": _size(base.get("params", base))}
    pipe = pretrained_model(config)
    if isinstance(pipe, TextPipeline):
        own = (pipe.params, pipe.vae_params, *(encoder.params for encoder in pipe.encoders))
        out["parameters of the pipeline"] = sum(map(_size, own))
    stage = {"domain_guidance": "finetune"}.get(config.method, config.method)
    if stage in WAYS:
        how = WAYS[stage](config, problem)
        base = denoiser_shapes(config, problem, new_token=how.new_token)
        trained = base if how.reparam is None else jax.eval_shape(how.reparam.init, _key(), base)
        out["parameters that are trained"] = _size(trained.get("params", trained))
        batch = how.settings.optimiser.batch_size
        out[f"a step of training, {batch} rows"] = _step(config, how, base, trained, prior=stage == "dreambooth")
    elif config.method != "source":
        known = ", ".join([*WAYS, "domain_guidance", "source"])
        raise UserError(f"--dry-run can not tell what {config.method} takes: it can of {known}")
    score, chunk = denoiser_score(config, problem, base, new_token=stage == "textual_inversion"), config.sampling.chunk
    rows = _like((chunk, *problem.shape)), _like((chunk,)), _like((chunk,), jnp.int32) if problem.conditional else None
    one = _estimate(_evaluation, score, *rows)
    solver = make_solver(config.sampling.solver)
    passes = (config.sampling.steps or solver.num_steps) * solver.evaluations
    out[f"a sample, {passes} passes"] = one._replace(flops=one.flops / chunk * passes)
    if isinstance(pipe, TextPipeline):
        decode = functools.partial(decoded, net=pipe.vae)
        out["decoding a sample"] = _estimate(decode, _like((1, *problem.shape)), pipe.vae_params)
    return out


def _step(config: RunConfig, how: Adaptation, base: Any, trained: Any, *, prior: bool) -> Estimate:
    task, settings, problem = how.task(), how.settings.optimiser, how.problem
    data = _rows(problem, len(problem.target))
    if prior:
        task = prior_preservation_task(task, config.dreambooth.prior_weight)
        data["prior"] = _rows(problem, config.dreambooth.num_prior)
    begin = functools.partial(start, task=task, config=settings, count=1, groups=1)
    along = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, course(settings)))
    state = jax.eval_shape(begin, _key(), None, trained, along).state
    frozen = None if how.reparam is None else base
    step = functools.partial(train_step, task=task, config=settings)
    return _estimate(step, state, frozen, data, None, _key(), along, donate=True)


def _rows(problem: Problem, num: int) -> dict[str, Any]:
    labels = {"y": _like((num,), jnp.int32)} if problem.conditional else {}
    return {"x": _like((num, *problem.shape)), **labels, "train": Rows(_like((num,), jnp.int32), _like((), jnp.int32))}


def _evaluation(score: Any, x: Any, t: Any, cond: Any) -> Any:
    """What a solver asks of a score."""
    return score.x0_and_eps(x, t, cond) if hasattr(score, "x0_and_eps") else score(x, t, cond)


def _estimate(fn: Any, *args: Any, donate: bool = False) -> Estimate:
    compiled = jax.jit(fn, donate_argnums=0 if donate else ()).lower(*args).compile()
    costs, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    if memory is None:
        raise UserError("this device's compiler does not say what programs take: leave out --dry-run")
    given = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Estimate(float(costs.get("flops", 0.0)), given + memory.temp_size_in_bytes)


def _key() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0))


def _like(shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)


def _size(tree: Any) -> int:
    return int(sum(leaf.size for leaf in jax.tree.leaves(tree)))


def _operations(number: float) -> str:
    for unit in ("", "k", "M", "G", "T"):
        if number < 1000:
            return f"{number:.3g} {unit}FLOP"
        number /= 1000
    return f"{number:.3g} PFLOP"
