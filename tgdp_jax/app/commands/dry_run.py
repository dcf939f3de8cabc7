"""`tgdp run --dry-run`: what a run would take, by the compiler's own analysis. Weights are not loaded."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from tgdp_jax.app.commands.estimate import Estimate, estimate, key, like, loops, of_step, row_numbers, rows_of, size
from tgdp_jax.app.commands.estimate_ratio import clean_step, ratio
from tgdp_jax.app.console import print_line
from tgdp_jax.data.memory import readable
from tgdp_jax.data.problem import Problem
from tgdp_jax.data.registry import load_problem
from tgdp_jax.errors import UserError, choose
from tgdp_jax.guidance import log_ratio_guidance
from tgdp_jax.interop.pipeline import Pipeline, TextPipeline, decoded
from tgdp_jax.interop.weights import headers_alone
from tgdp_jax.runtime import parallel
from tgdp_jax.sampling.steps import make_solver
from tgdp_jax.settings.run import RunConfig
from tgdp_jax.train.denoising import prior_preservation_task
from tgdp_jax.transfer import METHODS
from tgdp_jax.transfer.adaptation import Adaptation
from tgdp_jax.transfer.exports import WAYS
from tgdp_jax.transfer.latents import planned
from tgdp_jax.transfer.networks import denoiser_score, denoiser_shapes
from tgdp_jax.transfer.pretrained import pretrained_model

# Methods that learn networks of the density ratio.
RATIOS = ("tgdp", "discriminator_guidance")


def dry_run(config: RunConfig) -> None:
    """Prints what a run's training and samples take.

    Raises:
      UserError: whatever keeps the run from being begun; or a method whose networks are not estimated.
    """
    choose("method", config.method, METHODS)
    with headers_alone():
        found = load_problem(config.problem, n_target=config.n_target, seed=config.seed, source_seed=config.source_seed)
        problem = planned(config, found)
        METHODS[config.method].stages(config, problem)  # says what does not fit
        for name, value in estimates(config, problem).items():
            said = f"{value:,}" if isinstance(value, int) else f"{_operations(value.flops)}, {readable(value.memory)}"
            print_line(f"{name}: {said}")
    where = "each of the devices that share the weights" if parallel.splits_weights() else "one device"
    print_line(f"memory is that of one program on {where}; checkpoints and what the system holds come on top")


def estimates(config: RunConfig, problem: Problem) -> dict[str, int | Estimate]:
    """Numbers of parameters, and what a step of training, a sample and its decoding take, by what they are of.

    Args:
      config: settings of the run.
      problem: planned, see `transfer.latents`.

    Raises:
      UserError: see `dry_run`.
    """
    base, learned = denoiser_shapes(config, problem), None
    out: dict[str, int | Estimate] = {"parameters of the denoiser": size(base.get("params", base))}
    pipe = pretrained_model(config)
    if isinstance(pipe, Pipeline):
        encoders = pipe.encoders if isinstance(pipe, TextPipeline) else ()
        own = (pipe.params, pipe.vae_params, *(encoder.params for encoder in encoders))
        out["parameters of the pipeline"] = sum(map(size, own))
    stage, new_token = {"domain_guidance": "finetune"}.get(config.method, config.method), False
    if stage in WAYS:
        if stage == "tgdp_denoising":
            out |= _of_ensembles(clean_step(config, problem, base))
        how = WAYS[stage](config, problem)
        new_token = how.new_token
        base = denoiser_shapes(config, problem, new_token=new_token)
        trained = base if how.reparam is None else jax.eval_shape(how.reparam.init, key(), base)
        out["parameters that are trained"] = size(trained.get("params", trained))
        batch = how.settings.optimiser.batch_size
        out[f"a step of training, {batch} rows"] = _adaptation(config, how, base, trained, prior=stage == "dreambooth")
    elif config.method in RATIOS:
        learned = ratio(config, problem, base, clean=config.method == "tgdp")
        out |= _of_ensembles(learned.steps)
    elif config.method != "source":
        known = ", ".join([*WAYS, "domain_guidance", *RATIOS, "source"])
        raise UserError(f"--dry-run can not tell what {config.method} takes: it can of {known}")
    score, chunk = denoiser_score(config, problem, base, new_token=new_token), config.sampling.chunk
    labels = like((chunk,), jnp.int32) if problem.conditional else None
    rows = parallel.planned((like((chunk, *problem.shape)), like((chunk,)), labels), rows=True)
    one = estimate(_evaluation, parallel.planned(score), *rows)
    if learned is not None:
        guidance = log_ratio_guidance(learned.log_h, scale=config.guidance.scale)
        guided = estimate(_evaluation, parallel.planned(guidance(score)), *rows)
        one = guided._replace(flops=one.flops + (guided.flops - one.flops) * loops(learned.members))
    solver = make_solver(config.sampling.solver)
    passes = (config.sampling.steps or solver.num_steps) * solver.evaluations
    out[f"a sample, {passes} passes"] = one._replace(flops=one.flops / chunk * passes)
    if isinstance(pipe, Pipeline):
        decode = functools.partial(decoded, net=pipe.vae)
        out["decoding a sample"] = estimate(decode, like((1, *problem.shape)), parallel.planned(pipe.vae_params))
    return out


def _of_ensembles(steps: dict[str, tuple[int, Estimate]]) -> dict[str, int | Estimate]:
    out: dict[str, int | Estimate] = {}
    for name, (numbers, step) in steps.items():
        out[f"parameters of {name}, each of an ensemble"] = numbers
        out[f"a step of training {name}, all of the ensemble"] = step
    return out


def _adaptation(config: RunConfig, how: Adaptation, base: Any, trained: Any, *, prior: bool) -> Estimate:
    task, problem = how.task(), how.problem
    data = _training_rows(problem, len(problem.target))
    if prior:
        task = prior_preservation_task(task, config.dreambooth.prior_weight)
        data["prior"] = _training_rows(problem, config.dreambooth.num_prior)
    return of_step(task, how.settings.optimiser, data, None if how.reparam is None else base, base=trained)


def _training_rows(problem: Problem, num: int) -> dict[str, Any]:
    return {**rows_of(problem, num), "train": row_numbers(num)}


def _evaluation(score: Any, x: Any, t: Any, cond: Any) -> Any:
    """What a solver asks of a score."""
    return score.x0_and_eps(x, t, cond) if hasattr(score, "x0_and_eps") else score(x, t, cond)


def _operations(number: float) -> str:
    for unit in ("", "k", "M", "G", "T"):
        if number < 1000:
            return f"{number:.3g} {unit}FLOP"
        number /= 1000
    return f"{number:.3g} PFLOP"
