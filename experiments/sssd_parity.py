"""SSSD-ECG as its authors run it, beside this library's: do the same weights give the same noise?

    git clone https://github.com/AI4HealthUOL/SSSD-ECG      # and fetch a checkpoint that its README links to
    python -m experiments.sssd_parity --code SSSD-ECG/src/sssd --checkpoint 100000.pkl --out sssd_ecg.safetensors
    python -m experiments.sssd_parity --code SSSD-ECG/src/sssd --random --out random.safetensors   # no checkpoint

Needs what that code needs (torch, einops, opt_einsum, pytorch_lightning, PyYAML, tqdm) and trust in code and
checkpoint. Writes the state dict as safetensors, reads it with `tgdp_jax.interop.load_sssd` and compares noise
predictions at random inputs, labels and timesteps; it fails where they differ by more than `--tolerance` of their size.
With `--random` the weights are those that the published code starts from, with random numbers for its zeros (its last
layer starts at zero, and zero agrees with everything).

Four things are mended on the way. The published configuration ends its lists with a comma, which JSON does not have.
Some of the model's buffers are expanded views, into which current versions of torch load nothing: parameters and
buffers are made contiguous copies first. Without its CUDA extension and pykeops, the published code falls back on half
of the Cauchy sum (see `tgdp_jax.interop.sssd`), which is not what such a checkpoint was trained with; that function
alone is then replaced here by the whole sum. On a machine without CUDA, `.cuda()` is made to do nothing.

Measured at full size (36 layers, 50 million parameters, random weights): the two agree to 5e-5 of the largest
prediction.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
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
      out: where the weights go as safetensors.
      checkpoint: of the published training, N.pkl.
      random: random weights, in place of a checkpoint.
      config: of the published code.
      rows: inputs to compare at.
      tolerance: largest difference, as a share of the largest prediction.
    """

    code: Path
    out: Path
    checkpoint: Path | None = None
    random: bool = False
    config: Path | None = None
    rows: int = 4
    tolerance: float = 1e-3

    def __post_init__(self):
        if self.random == (self.checkpoint is not None):
            raise UserError("weights come from one place: give either --checkpoint or --random")


def read_config(path: Path) -> dict[str, Any]:
    """The published configuration, whose lists may end with a comma.

    Raises:
      UserError: missing, or no JSON for other reasons.
    """
    try:
        # Text between quotation marks stays as it is.
        text = re.sub(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', lambda found: found[1] or "", path.read_text())
        return json.loads(text)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can not be read as JSON ({error}): give the published file by --config") from error


def own_memory(net: Any, torch: Any) -> None:
    """Makes parameters and buffers of a torch module contiguous copies, with memory of their own to load into."""
    for tensor in (*net.parameters(), *net.buffers()):
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)


def fill_zeros(net: Any, torch: Any) -> None:
    """Gives random numbers to the parameters of a torch module that are zero throughout."""
    for tensor in net.parameters():
        if not tensor.any():
            tensor.data = torch.randn_like(tensor) / tensor.shape[-1] ** 0.5


def published_model(options: Options, torch: Any) -> Any:
    """The published network with the weights that are asked for."""
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
    config = read_config(options.config or options.code / "config" / "config_SSSD_ECG.json")
    torch.manual_seed(0)
    net = module.SSSD_ECG(**config["wavenet_config"])
    own_memory(net, torch)
    if options.random:
        fill_zeros(net, torch)
    else:
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
