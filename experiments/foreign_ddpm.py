"""Transfer from a model that others trained: a small DDPM of MNIST as the source, n images of USPS as the target.

    python -m experiments.foreign_ddpm --data-dir DATA

The model is the MNIST DDPM of github.com/BrianPulfer/PapersReimplementations (ddpm/, MIT licence), 600,000 weights in
a U-Net of its own kind: whole-image layer norms, 10, 20 and 40 channels, the time embedding added once a level. It
predicts the noise of a chain of 1,000 steps, beta 1e-4 to 0.02, on 28 x 28 pixels in [-1, 1]. DATA holds its state dict
as arrays, ddpm_brianpulfer/ddpm_mnist.npz, beside mnist/ and usps/ as in `experiments.images`.

Nothing of it is known to the library: `ForeignUNet` below is all that another's model takes. Its samples leave the
range of pixels unless the predicted clean image is clipped at each step, and few steps leave noise in them.

Measured with jax 0.10.2 on two CPU cores (--num 100 --n-targets 50; training 445 s on a machine with other work): the
model's samples are digits, a third of them on grey ground, Frechet 102.4 +- 9.1 to USPS. TGDP's read 100.2 +- 8.9, with
precision .37 versus .38, recall .77 versus .76, C2ST .91 both, MMD^2 .101 versus .096: hardly a change, as the pictures
say too. The domain classifier (held-out AUC .87) looks at MNIST's own images, which have none of the model's grey
grounds.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.command import command
from experiments.images import MARGIN
from tgdp_jax.app.console import Display, print_table
from tgdp_jax.app.report.grid import image_grids
from tgdp_jax.app.report.table import Cell, Column, Row
from tgdp_jax.data.image_files import read_images
from tgdp_jax.data.pixels import to_model
from tgdp_jax.errors import UserError
from tgdp_jax.guidance import log_ratio_guidance
from tgdp_jax.metrics.features import fit_features
from tgdp_jax.metrics.images import evaluate_images
from tgdp_jax.metrics.registry import METRICS
from tgdp_jax.nets import ClassifierHead, GuidanceHead
from tgdp_jax.prediction import network_score
from tgdp_jax.runtime.files import write_json
from tgdp_jax.sampling import sample
from tgdp_jax.sde import DiscreteVP
from tgdp_jax.train.classifier import fit_log_ratio
from tgdp_jax.train.guidance import GuidanceLoss, fit_guidance
from tgdp_jax.train.optimiser import OptimiserConfig

Array = jax.Array
SDE = DiscreteVP("linear", 1e-4, 0.02, 1000)
SIDE = 28
SHOWN = ("frechet", "precision", "recall", "density", "coverage", "c2st", "mmd2", "memorisation")


@dataclasses.dataclass(frozen=True)
class ForeignUNet:
    """The foreign network: eps [B, 28, 28, 1] of x [B, 28, 28, 1] at t [B] in [1/1000, 1]; cond is not used.

    Weights are its state dict, names less the prefix "network.", in PyTorch's layouts.
    """

    def apply(self, w: Any, x: Array, t: Array, cond: Any = None) -> Array:
        known = _time_rows(w["time_embed.weight"], t)

        def moment(name: str) -> Array:
            h = jax.nn.silu(known @ w[f"{name}.0.weight"].T + w[f"{name}.0.bias"])
            return (h @ w[f"{name}.2.weight"].T + w[f"{name}.2.bias"])[:, None, None, :]

        def blocks(h: Array, name: str, normed: int = 3) -> Array:
            for i in range(3):
                if i < normed:
                    h = _layer_norm(h, w[f"{name}.{i}.ln.weight"], w[f"{name}.{i}.ln.bias"])
                for conv in ("conv1", "conv2"):
                    h = jax.nn.silu(_conv(w, f"{name}.{i}.{conv}", h, 1, 1))
            return h

        out1 = blocks(x + moment("te1"), "b1")
        out2 = blocks(_conv(w, "down1", out1, 2, 1) + moment("te2"), "b2")
        out3 = blocks(_conv(w, "down2", out2, 2, 1) + moment("te3"), "b3")
        h = _conv(w, "down3.2", jax.nn.silu(_conv(w, "down3.0", out3, 1, 0)), 2, 1)
        h = blocks(h + moment("te_mid"), "b_mid")
        h = _conv_transpose(w, "up1.2", jax.nn.silu(_conv_transpose(w, "up1.0", h, 2, 1)), 1, 0)
        h = blocks(jnp.concatenate([out3, h], -1) + moment("te4"), "b4")
        h = blocks(jnp.concatenate([out2, _conv_transpose(w, "up2", h, 2, 1)], -1) + moment("te5"), "b5")
        h = jnp.concatenate([out1, _conv_transpose(w, "up3", h, 2, 1)], -1) + moment("te_out")
        # The last block has a norm that its makers switched off.
        return _conv(w, "conv_out", blocks(h, "b_out", normed=2), 1, 1)


def _time_rows(table: Array, t: Array) -> Array:
    """Rows of the embedding at t = (i + 1) / T; between two steps on the line between theirs."""
    at = jnp.clip(t * len(table) - 1.0, 0.0, len(table) - 1.0)
    low = jnp.floor(at).astype(jnp.int32)
    share = (at - low)[:, None]
    return (1.0 - share) * table[low] + share * table[jnp.minimum(low + 1, len(table) - 1)]


def _layer_norm(h: Array, scale: Array, bias: Array) -> Array:
    """Over the whole of an image; scale and bias are [C, H, W]."""
    mean, var = h.mean((1, 2, 3), keepdims=True), h.var((1, 2, 3), keepdims=True)
    return (h - mean) / jnp.sqrt(var + 1e-5) * scale.transpose(1, 2, 0) + bias.transpose(1, 2, 0)


def _conv(w: Any, name: str, h: Array, stride: int, pad: int) -> Array:
    kernel = w[f"{name}.weight"].transpose(2, 3, 1, 0)
    return _windows(h, kernel, stride, pad, 1) + w[f"{name}.bias"]


def _conv_transpose(w: Any, name: str, h: Array, stride: int, pad: int) -> Array:
    """PyTorch's: the gradient of a convolution with this stride and padding."""
    kernel = w[f"{name}.weight"].transpose(2, 3, 0, 1)[::-1, ::-1]
    return _windows(h, kernel, 1, len(kernel) - 1 - pad, stride) + w[f"{name}.bias"]


def _windows(h: Array, kernel: Array, stride: int, pad: int, dilation: int) -> Array:
    return jax.lax.conv_general_dilated(
        h,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        lhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def load(path: Path) -> dict[str, Array]:
    """Weights of a `ForeignUNet`.

    Raises:
      UserError: no such file, or not of this model.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist: see the text at the top of {Path(__file__).name} for what it is")
    with np.load(path, allow_pickle=False) as archive:
        weights = {name.removeprefix("network."): jnp.asarray(archive[name]) for name in archive.files}
    if weights.get("time_embed.weight", jnp.zeros(())).shape != (SDE.num_steps, 100):
        raise UserError(f"{path} has no 'network.time_embed.weight' of 1000 x 100 numbers: take the MNIST model's file")
    return weights


def main(data_dir: Path, out: Path = Path("runs"), *, n_targets: str = "10,50,200", num: int = 500) -> None:
    """TGDP from the foreign model, one seed, beside the model as it is.

    Args:
      data_dir: folder with the model and both data sets.
      out: folder for the results.
      n_targets: numbers of target images.
      num: samples of each.
    """
    folder = out / "foreign-ddpm"
    score = network_score(ForeignUNet(), load(data_dir / "ddpm_brianpulfer" / "ddpm_mnist.npz"), SDE)
    mnist, usps = read_images(data_dir / "mnist" / "mnist.npz"), read_images(data_dir / "usps" / "usps.h5")
    assert mnist.y is not None
    # Into the frame of the model's data: 20 x 20 pixels within a margin.
    inner = to_model(usps.x, SIDE - 2 * MARGIN)
    pool = np.pad(inner, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)), constant_values=-1.0)
    order = np.random.default_rng(0).permutation(len(pool))
    rows = to_model(mnist.x[:10_000], SIDE)
    source = {"x": jnp.asarray(rows)}
    std = float(f"{rows.std():.2g}")
    table, pictures, key = [], {"MNIST": rows[:64]}, jax.random.key(0)

    def draw(guided: Any) -> np.ndarray:
        draw_key, shape = jax.random.fold_in(key, 3), (SIDE, SIDE, 1)
        return sample(draw_key, guided, SDE, range(num), shape, solver="ancestral", num_steps=200, clip=1.0, chunk=100)

    with Display() as display:
        display.say("features of MNIST's classes, for the metrics")
        features = fit_features(jax.random.fold_in(key, 0), rows, mnist.y[: len(rows)].astype(np.int32), num_classes=10)
        display.say("samples of the model as it is")
        plain = draw(score)
        pictures["samples of the model"] = plain[:64]
        for n in map(int, n_targets.split(",")):
            learned, held = pool[order[:n]], pool[order[n : n + 5000]]
            target = {"x": jnp.asarray(learned)}
            display.say(f"{n} target images: domain classifier, guidance network, samples")
            start = time.perf_counter()
            ratio = fit_log_ratio(
                jax.random.fold_in(key, 1),
                source,
                target,
                net=ClassifierHead((8, 16, 32), data_std=std),
                folds=2,
                regularisers=("mixup", "noise_0.3"),
                optimiser=OptimiserConfig(steps=200, batch_size=64, steps_per_launch=25, patience=100),
            )
            guide = fit_guidance(
                jax.random.fold_in(key, 2),
                GuidanceHead(SDE, (8, 16, 32), data_std=std, free=False),
                SDE,
                score,
                source,
                target,
                source_log_r=ratio.source_log_r,
                target_log_r=ratio.target_log_r,
                terms=GuidanceLoss(pooled=True),
                consistency=(300.0,),
                folds=2,
                optimiser=OptimiserConfig(
                    steps=400, batch_size=32, learning_rate=3e-3, steps_per_launch=25, patience=100, validation_rows=256
                ),
            )
            seconds = time.perf_counter() - start
            guided = draw(log_ratio_guidance(guide.log_h)(score))
            pictures |= {f"USPS, {n} to learn from": learned[:64], f"TGDP, n = {n}": guided[:64]}
            for name, x in (("model as it is", plain), ("tgdp", guided)):
                values = evaluate_images(x, held, learned, features)
                cells = {k: Cell(v.value, v.spread) for k, v in values.items()}
                cells["seconds"] = Cell(seconds if name == "tgdp" else 0.0, None)
                table.append(Row(name, cells, group=str(n)))
            display.say(f"calibration: {ratio.calibration}")
    record = [{"row": row.name, "n": row.group, **{k: list(c) for k, c in row.cells.items()}} for row in table]
    write_json(folder / "metrics.json", record)
    (folder / "samples.png").write_bytes(image_grids(pictures).png())
    shown = [Column(name, METRICS[name].label, METRICS[name].better, goal=METRICS[name].ideal) for name in SHOWN]
    columns = [*shown, Column("seconds", "train s", "none")]
    print_table(table, columns, title="From a foreign DDPM of MNIST to USPS", group="target rows")
    print(f"{folder}: metrics.json, samples.png")


if __name__ == "__main__":
    command(main)
