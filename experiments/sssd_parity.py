"""SSSD-ECG as its authors run it, beside this library's: do the same weights give the same noise?

    git clone https://github.com/AI4HealthUOL/SSSD-ECG      # and fetch a checkpoint that its README links to
    python -m experiments.sssd_parity --code SSSD-ECG/src/sssd --checkpoint 100000.pkl --out sssd_ecg.safetensors

Needs what that code needs (torch, einops, opt_einsum, pytorch_lightning, PyYAML, tqdm) and trust in code and
checkpoint. Writes the state dict as safetensors, reads it with `tgdp_jax.interop.load_sssd` and compares noise
predictions at random inputs, labels and timesteps; it fails where they differ by more than `--tolerance` of their size.

Without its CUDA extension and pykeops, the published code falls back on half of the Cauchy sum (see
`tgdp_jax.interop.sssd`), which is not what such a checkpoint was trained with; that function alone is then replaced
here by the whole sum. On a machine without CUDA, `.cuda()` is made to do nothing.

What has been checked without code and weights of theirs: names and layouts as read in the published code, and numbers
against an independent PyTorch model of these names (tests/interop/test_sssd.py). This script has not been run.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from experiments.command import command
from tgdp_jax.errors import UserError
from tgdp_jax.interop import load_sssd


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to compare.

    Attributes:
      code: folder src/sssd of the published code.
      checkpoint: of the published training, N.pkl.
      out: where its weights go as safetensors.
      config: of the published code.
      rows: inputs to compare at.
      tolerance: largest difference, as a share of the largest prediction.
    """

    code: Path
    checkpoint: Path
    out: Path
    config: Path | None = None
    rows: int = 4
    tolerance: float = 1e-3


def published_model(options: Options, torch: Any) -> Any:
    """The published network with the checkpoint's weights."""
    sys.path.insert(0, str(options.code.resolve()))
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda tensor, *_, **__: tensor
    spaces: Any = importlib.import_module("models.S4Model")
    if not (spaces.has_cauchy_extension or (spaces.has_pykeops and torch.cuda.is_available())):
        spaces.has_pykeops = False

        def whole_sum(v: Any, z: Any, w: Any) -> Any:
            w, z = w[..., None], z[..., None, :]
            return (v[..., None] / (z - w) + v.conj()[..., None] / (z - w.conj())).sum(-2)

        spaces.cauchy_slow = whole_sum
    place = "model" if (options.code / "model").is_dir() else "models"
    module: Any = importlib.import_module(f"{place}.SSSD_ECG")
    config = json.loads((options.config or options.code / "config" / "config_SSSD_ECG.json").read_text())
    net = module.SSSD_ECG(**config["wavenet_config"])
    state = torch.load(options.checkpoint, map_location="cpu", weights_only=True)["model_state_dict"]
    net.load_state_dict(state)
    return (net.cuda() if torch.cuda.is_available() else net).eval()


def main(options: Annotated[Options, tyro.conf.arg(name="")]) -> None:
    """Compares; raises UserError where the two differ."""
    torch: Any = importlib.import_module("torch")
    save: Any = importlib.import_module("safetensors.torch").save_file
    theirs = published_model(options, torch)
    save({name: value.cpu().contiguous() for name, value in theirs.state_dict().items()}, options.out)
    ours = load_sssd(options.out)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(options.rows, *ours.shape)).astype(np.float32)
    classes = ours.net.num_classes
    labels = (rng.random((options.rows, classes)) < 3 / max(classes, 3)).astype(np.float32)
    steps = rng.integers(ours.sde.num_steps, size=options.rows)
    with torch.no_grad():
        inputs = (torch.from_numpy(a).cuda() for a in (x.swapaxes(1, 2), labels, steps[:, None].astype(np.float32)))
        expected = theirs(tuple(inputs)).cpu().numpy().swapaxes(1, 2)
    t = ((steps + 1) / ours.sde.num_steps).astype(np.float32)
    found = np.asarray(jax.jit(ours.net.apply)(ours.variables, x, t, labels if classes else None))
    scale = np.abs(expected).max()
    worst = float(np.abs(found - expected).max() / scale)
    print(f"largest prediction {scale:.3g}; largest difference {worst:.2e} of that, at timesteps {steps.tolist()}")
    if not worst <= options.tolerance:
        raise UserError(f"predictions differ by {worst:.2e} of their size, more than {options.tolerance:.0e}")


if __name__ == "__main__":
    command(main)
