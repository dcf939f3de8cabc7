"""How fast pictures are made from prompts, against diffusers with the same weights, prompts, steps and processor cores.

    python -m experiments.diffusers_speed                     (needs the extra interop-test)
    taskset -c 1 python -m experiments.diffusers_speed        on one core

A pipeline of the form of Stable Diffusion 1.5 makes pictures of 32 x 32 pixels, with 6.1 million random weights in its
U-Net, 16 x 16 latents, classifier-free guidance and 25 steps of DPM-Solver++(2M). Everything from prompts to pixels
counts.

Measured in seconds, both in turn, with nothing else at work on two virtual cores: jax 0.10.2, torch 2.13.0+cpu,
diffusers 0.42.1, float32; targets 1.3 for one picture and 1.1 for sixteen.

    cores    pictures      tgdp_jax      diffusers    times diffusers     rounds
        1           1   0.99 ± 0.09    1.45 ± 0.04        1.44 ± 0.07          9
        1           1   1.86 ± 0.06    2.13 ± 0.04        1.14 ± 0.02          7
        2           1   1.52 ± 0.07    1.68 ± 0.07        1.11 ± 0.06          9
        2          16   8.09 ± 0.51    12.5 ± 1.3         1.51 ± 0.07          4

± is half the distance between the quartiles. The cores are those of a shared machine, whose speed changes from minute
to minute, and by more than the quartiles show: the target for one picture is met on one core at times, and not on
two, where a second core gains nothing for products as small as these. Of 16 pictures this library makes one at a
time, as `tgdp generate` does by default, and diffusers all. All at once, a pass of our U-Net takes as long as theirs
(0.63 versus 0.65 s), since what lies between its layers does not stay in the caches. Convolutions reach 96 to 125
GFLOP/s there and products 120, so that little is left to gain but between them. Attention to 256 places was the
worst: 56 ms in one piece, 12 in parts (`nets.attention`), of 770 ms for a pass before.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.command import command
from tgdp_jax.app.bench.measure import Spread
from tgdp_jax.app.console import print_table
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.errors import UserError
from tgdp_jax.interop import autoencoder, clip_text, latent_unet
from tgdp_jax.interop.pipeline import PLAIN, TextEncoder, TextPipeline
from tgdp_jax.interop.pipeline_folder import write_pipeline
from tgdp_jax.interop.tokenizer import SPECIAL_TOKENS, Tokenizer
from tgdp_jax.nets.autoencoder import AutoencoderKL
from tgdp_jax.nets.clip_text import CLIPText
from tgdp_jax.nets.latent_unet import LatentUNet
from tgdp_jax.sampling import sample
from tgdp_jax.sde import DiscreteVP

SCALE = 7.5
COLUMNS = [
    Column("ours", "tgdp_jax [s]", "lower"),
    Column("theirs", "diffusers [s]", "lower"),
    Column("ratio", "times diffusers", "higher"),
]


def small_pipeline(seed: int = 0) -> TextPipeline:
    """Of pictures of 32 x 32 pixels, with random weights: 6.1 million in its U-Net, which has the form of SD 1.5's."""
    net = LatentUNet(
        channels=(64, 128),
        layers=(2, 2),
        depths=((1, 1), (1, 1)),
        up_depths=((1, 1, 1), (1, 1, 1)),
        heads=(4, 4),
        own=(True, True),
        text_dim=64,
        size=(16, 16),
    )
    vae = AutoencoderKL(channels=(32, 64), layers=1)
    letters = [chr(ord("a") + i) for i in range(26)]
    tokens = dict.fromkeys([*letters, *(letter + "</w>" for letter in letters), *SPECIAL_TOKENS.values()])
    vocab = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(vocab=vocab, merges=[], special=dict(SPECIAL_TOKENS), length=77)
    text = CLIPText(
        vocab=tokenizer.size, width=64, layers=2, heads=4, hidden=256, positions=77, end=vocab["<|endoftext|>"]
    )
    encoder = TextEncoder(net=text, params=_drawn(clip_text.expected(text), seed), tokenizer=tokenizer)
    return TextPipeline(
        kind=PLAIN,
        net=net,
        params=_drawn(latent_unet.expected_params(net), seed + 1),
        vae=vae,
        vae_params=_drawn(autoencoder.expected(vae), seed + 2),
        encoders=(encoder,),
        sde=DiscreteVP("scaled_linear", 0.00085, 0.012),
        prediction="eps",
    )


def _drawn(shapes: Any, seed: int) -> Any:
    """Random parameters that keep the scale of what goes through them."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> jax.Array:
        if path[-1].key == "scale":
            return jnp.ones(leaf.shape, jnp.float32)
        spread = 0.02 if len(leaf.shape) < 2 else np.prod(leaf.shape[:-1]) ** -0.5
        return jnp.asarray(spread * rng.normal(size=leaf.shape), jnp.float32)

    return {"params": jax.tree_util.tree_map_with_path(draw, shapes)}


def prompts_of(batch: int) -> list[str]:
    """Different ones, as many as pictures."""
    letters = itertools.product("abcdefgh", repeat=2)
    return [f"a red {''.join(two)} on a table" for two, _ in zip(letters, range(batch), strict=False)]


def ours(pipe: TextPipeline, batch: int, steps: int, chunk: int) -> np.ndarray:
    """Pictures [batch, H, W, 3] of the default guidance, from prompts to pixels, so many at a time."""
    text = pipe.embed(prompts_of(batch))
    latents = sample(
        jax.random.key(0),
        pipe.score(scale=SCALE),
        pipe.sde,
        batch,
        pipe.shape(),
        cond=text,
        solver="dpmpp_2m",
        grid="trailing",
        num_steps=steps,
        chunk=chunk,
    )
    return pipe.decode(latents, chunk=chunk)


def theirs(folder: Path, batch: int, steps: int) -> Callable[[], Any]:
    """The same by diffusers.

    Raises:
      UserError: it is not installed.
    """
    try:
        diffusers, torch = map(importlib.import_module, ("diffusers", "torch"))
    except ImportError as error:
        raise UserError(f"{error.name} is not installed: pip install 'tgdp-jax[interop-test]'") from error
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipe.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="trailing"
    )
    pipe.set_progress_bar_config(disable=True)
    prompts = prompts_of(batch)

    def call() -> Any:
        return pipe(prompts, num_inference_steps=steps, guidance_scale=SCALE, output_type="np").images

    return call


def main(batches: tuple[int, ...] = (1, 16), steps: int = 25, repeats: int = 15, chunk: int = 1) -> None:
    """Takes the time of both in turn, and prints medians and the ratio of every round.

    Args:
      batches: numbers of pictures.
      steps: of DPM-Solver++(2M); each evaluates the U-Net with and without the prompt.
      repeats: rounds.
      chunk: pictures that this library makes at a time; 1 is the default of `tgdp generate`.
    """
    pipe, rows = small_pipeline(), []
    with tempfile.TemporaryDirectory() as folder:
        write_pipeline(folder, pipe)
        for batch in batches:
            calls = {
                "ours": functools.partial(ours, pipe, batch, steps, chunk),
                "theirs": theirs(Path(folder), batch, steps),
            }
            seconds = seconds_of(calls, repeats)
            cells = {name: _cell(values) for name, values in seconds.items()}
            rows.append(Row(f"{batch}", cells | {"ratio": _cell(seconds["theirs"] / seconds["ours"])}))
    print_table(rows, COLUMNS, title=f"{steps} steps with guidance", names="pictures")


def seconds_of(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
    """Seconds [R] that each call takes: one of each in turn, after one of each that does not count."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number:
                found[name].append(time.perf_counter() - start)
    return {name: np.asarray(values) for name, values in found.items()}


def _cell(values: np.ndarray) -> Cell:
    spread = Spread.of(values)
    return Cell(spread.median, (spread.high - spread.low) / 2)


if __name__ == "__main__":
    command(main)
