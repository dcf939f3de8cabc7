"""Weights of SSSD-ECG (Alcaraz & Strodthoff 2023) as its published PyTorch code saves them, loaded as a source model.

Neither torch nor the published code is needed: the checkpoint's `model_state_dict` is converted once, where both are,

    import torch, safetensors.torch
    state = torch.load("100000.pkl", map_location="cpu", weights_only=True)["model_state_dict"]
    safetensors.torch.save_file({name: value.contiguous() for name, value in state.items()}, "sssd_ecg.safetensors")

Its rows are 1,000 places at 100 Hz of the leads I, V1 to V6 and aVF, in this order, as the authors prepared PTB-XL (the
published training neither centres nor scales them); labels are weights of 71 statements, ones for those that hold. The
chain's timestep i is t = (i + 1) / 200.

Names there and here (W width, H = 2 W features of a state space, N states; dense layers are transposed):

    init_conv.0.conv                        input        [W, C, 1], with weight norm
    embedding.weight                        labels       [classes, E]
    residual_layer.fc_t1, .fc_t2            time1, time2
    residual_layer.residual_blocks.i        layer_i:
      .fc_t, .fc_label                        of_time, of_label
      .conv_layer.conv                        conv       [2 W, W, 3], with weight norm
      .res_conv, .skip_conv                   residual, skip   [., W, 1], with weight norm
      .S41, .S42                              space1, space2:
        .norm_layer                             norm
        .s4_layer.output_linear                 mix      weight [H, H], bias [H, 1]
        .s4_layer.D                             space/d  [1, H]
        .s4_layer.kernel.kernel.log_dt          space/log_dt [H]
                              .w                space/log_decay and space/frequency: log -Re, Im [H, N / 2, 2]
                              .P, .B            space/p, space/b [1, H, N / 2, 2]
                              .C                space/c [directions, H, N / 2, 2], already multiplied by 1 - Ab^L
                              .Q                must be P's conjugate
                              .omega, .z        the roots of unity, which say L
    final_conv.0.conv, final_conv.2.conv    output1 (with weight norm), output2

Weight norm is multiplied out: weight = g v / |v|, norms over all axes but the first. There, only C, D and the layers
between are trained; here log_dt, lambda, P and B would be, too.

The state space sums over N / 2 states and their conjugates, as the published code does with its CUDA extension or with
pykeops. Without both it falls back on a sum over N / 2 states alone, which is another function of the same weights.
"""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.interop.tensors import finite, read_shapes, read_tensors
from tgdp_jax.interop.weights import params_of
from tgdp_jax.nets.discrete_time import DiscreteTime
from tgdp_jax.nets.sssd import SSSD
from tgdp_jax.prediction import ScoreFn, network_score
from tgdp_jax.sde import DiscreteVP

LAYER = re.compile(r"residual_layer\.residual_blocks\.(\d+)\.")
# The chain of the published configuration.
CHAIN = DiscreteVP("linear", 1e-4, 0.02, 200)
# The published model has 64; a matrix of as many rows is made to know the shapes.
_MAX_STATES = 256


@dataclasses.dataclass(frozen=True)
class SSSDModel:
    """SSSD-ECG with its process.

    Attributes:
      net: network (x [B, L, C], t [B] in [1 / T, 1], cond) -> noise [B, L, C]; cond are classes [B], or weights of all
        classes [B, classes], such as ones for the statements that hold.
      variables: of `net`, {"params": ...}, float32.
      sde: the process.
      shape: (L, C) of a series.
    """

    net: DiscreteTime
    variables: Any
    sde: DiscreteVP
    shape: tuple[int, int]

    @property
    def prediction(self) -> str:
        """What `net` predicts, one of `prediction.PREDICTIONS`."""
        return "eps"

    def score(self) -> ScoreFn:
        """The score function (x [B, L, C], t [B], cond) -> [B, L, C]."""
        return network_score(self.net, self.variables, self.sde, prediction=self.prediction)


class _Reader:
    """Tensors taken by name, so that at the end those are known that nobody took, are missing or of a wrong shape."""

    def __init__(self, path: Path):
        self.path, self.left = path, read_tensors(path)
        self.missing: list[str] = []
        self.wrong: list[str] = []

    def take(self, name: str, *sizes: int | None) -> np.ndarray:
        """A tensor with axes of these sizes (None: any), in double precision; zeros in the place of one that is not."""
        value = self.left.pop(name, None)
        if value is None:
            self.missing.append(name)
        elif value.ndim != len(sizes) or any(s not in (None, n) for s, n in zip(sizes, value.shape, strict=True)):
            self.wrong.append(f"{name} (is {list(value.shape)}, not {str(list(sizes)).replace('None', '*')})")
        else:
            finite(value, name, str(self.path))
            return value.astype(np.float64)
        return np.zeros([size or 1 for size in sizes])

    def weight(self, name: str) -> np.ndarray:
        """A layer's weight, [out, in] or [out, in, window], weight norm multiplied out."""
        for size, direction in (("weight_g", "weight_v"), (f"{_PARAMETRIC}0", f"{_PARAMETRIC}1")):
            if f"{name}.{size}" in self.left:
                v = self.take(f"{name}.{direction}", None, None, *self._last(f"{name}.{direction}"))
                norm = np.sqrt(np.sum(v**2, tuple(range(1, v.ndim)), keepdims=True))
                return self.take(f"{name}.{size}", *norm.shape) * v / np.where(norm > 0, norm, 1.0)
        return self.take(f"{name}.weight", None, None, *self._last(f"{name}.weight"))

    def _last(self, name: str) -> tuple[None, ...]:
        """The third axis of a weight, if it has one."""
        return (None,) if name in self.left and self.left[name].ndim > 2 else ()

    def dense(self, name: str) -> dict[str, np.ndarray]:
        """A dense layer, or a convolution whose windows are one place."""
        weight = self.weight(name)
        kernel = weight.reshape(weight.shape[:2]).T if weight.ndim < 3 or weight.shape[2] == 1 else weight
        bias = f"{name}.bias"
        column = (1,) if bias in self.left and self.left[bias].ndim > 1 else ()
        return {"kernel": kernel, "bias": self.take(bias, None, *column).reshape(-1)}

    def check(self) -> None:
        """Refuses a file whose tensors were not all taken, each once."""
        _refuse(self.path, "lacks", self.missing)
        _refuse(self.path, "holds, beside those of SSSD-ECG,", sorted(self.left))
        _refuse(self.path, "does not fit together; of other shapes than SSSD-ECG has are", self.wrong)


_PARAMETRIC = "parametrizations.weight.original"


def load_sssd(path: str | Path, *, sde: DiscreteVP = CHAIN, dtype: Any = jnp.float32) -> SSSDModel:
    """Reads SSSD-ECG from a safetensors file.

    Args:
      path: the file, see the module's description.
      sde: the process; the default is that of the published configuration, T = 200 with betas from 1e-4 to 0.02.
      dtype: what residual layers compute in, see `SSSD`.

    Raises:
      UserError: the file can not be read, or its tensors are not those of such a model; they are named.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UserError(
            f"{path} is not a .safetensors file: convert the checkpoint, since loading a pickle can run code; "
            "tgdp_jax/interop/sssd.py says how"
        )
    layers = _num_layers(path)
    reader = _Reader(path)
    tree: dict[str, Any] = {"input": reader.dense("init_conv.0.conv")}
    conditional = "embedding.weight" in reader.left
    if conditional:
        tree["labels"] = {"kernel": reader.take("embedding.weight", None, None)}
    for i in (1, 2):
        tree[f"time{i}"] = reader.dense(f"residual_layer.fc_t{i}")
    lengths = set()
    for i in range(layers):
        tree[f"layer{i}"], found = _layer(reader, f"residual_layer.residual_blocks.{i}", conditional)
        lengths |= found
    tree["output1"], tree["output2"] = reader.dense("final_conv.0.conv"), reader.dense("final_conv.2.conv")
    reader.check()
    if len(lengths) != 1:
        raise UserError(f"{path} holds state spaces for rows of {sorted(lengths)} places: all must be of one length")
    channels, width = tree["input"]["kernel"].shape
    c = tree["layer0"]["space1"]["space"]["c"]
    if 2 * c.shape[2] > _MAX_STATES:
        raise UserError(f"{path} has state spaces of {2 * c.shape[2]} states: at most {_MAX_STATES} are supported")
    net = SSSD(
        layers,
        width,
        states=2 * c.shape[2],
        hidden=tree["time1"]["kernel"].shape[1],
        label_dim=tree["labels"]["kernel"].shape[1] if conditional else 1,
        skip=tree["output1"]["kernel"].shape[1],
        bidirectional=len(c) == 2,
        num_classes=len(tree["labels"]["kernel"]) if conditional else 0,
        dtype=dtype,
    )
    made = DiscreteTime(net, sde.num_steps)
    shape = lengths.pop(), channels
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), {"net": tree})
    _check_shapes(path, made, params, shape)
    return SSSDModel(made, {"params": params}, sde, shape)


def _num_layers(path: Path) -> int:
    """How many residual layers a file has, by the names in its header."""
    names = read_shapes(path)
    if "conv_in.weight" in names:
        raise UserError(f"{path} is of a U-Net of diffusers: give the folder that holds it and its config.json")
    found = {int(match[1]) for name in names if (match := LAYER.match(name))}
    gap = next((i for i in range(len(found)) if i not in found), None)
    if not found or gap is not None:
        _refuse(path, "lacks", [f"residual_layer.residual_blocks.{gap or 0}"])
    return len(found)


def _layer(reader: _Reader, prefix: str, conditional: bool) -> tuple[dict[str, Any], set[int]]:
    """(a residual layer's parameters, lengths of the rows that its state spaces are for)."""
    conv = reader.dense(f"{prefix}.conv_layer.conv")
    if conv["kernel"].ndim == 3:
        conv["kernel"] = conv["kernel"].transpose(2, 1, 0)[:, None]
    out: dict[str, Any] = {
        "of_time": reader.dense(f"{prefix}.fc_t"),
        "conv": conv,
        "residual": reader.dense(f"{prefix}.res_conv"),
        "skip": reader.dense(f"{prefix}.skip_conv"),
    }
    if conditional:
        out["of_label"] = reader.dense(f"{prefix}.fc_label")
    lengths = set()
    for i in (1, 2):
        out[f"space{i}"], length = _space(reader, f"{prefix}.S4{i}")
        lengths.add(length)
    return out, lengths


def _space(reader: _Reader, prefix: str) -> tuple[dict[str, Any], int]:
    """(an S4 block's parameters, length of the rows that it is for)."""
    kernel = f"{prefix}.s4_layer.kernel.kernel"
    pairs = None, None, 2  # complex numbers of every feature and state
    w, roots = reader.take(f"{kernel}.w", *pairs), reader.take(f"{kernel}.omega", None, 2)
    p = reader.take(f"{kernel}.P", 1, *pairs)
    q = reader.take(f"{kernel}.Q", *p.shape)
    # Follows from omega, and is infinite where that is -1.
    if reader.left.pop(f"{kernel}.z", None) is None:
        reader.missing.append(f"{kernel}.z")
    if not reader.missing and not reader.wrong and np.abs(q - p * (1, -1)).max() > 1e-4 * max(np.abs(p).max(), 1e-30):
        raise UserError(f"{reader.path}: {kernel}.Q is not the conjugate of one P: only untrained ones are supported")
    if not (w[..., 0] <= 0).all():
        raise UserError(f"{reader.path}: {kernel}.w has positive real parts, of systems that grow without bound")
    space = {
        "log_dt": reader.take(f"{kernel}.log_dt", None),
        "log_decay": np.log(np.maximum(-w[..., 0], 1e-30)),
        "frequency": w[..., 1],
        "c": reader.take(f"{kernel}.C", None, *pairs),
        "p": p[0],
        "b": reader.take(f"{kernel}.B", 1, *pairs)[0],
        "d": reader.take(f"{prefix}.s4_layer.D", 1, None)[0],
    }
    norm = f"{prefix}.norm_layer"
    block = {
        "space": space,
        "mix": reader.dense(f"{prefix}.s4_layer.output_linear"),
        "norm": {"scale": reader.take(f"{norm}.weight", None), "bias": reader.take(f"{norm}.bias", None)},
    }
    return block, _length(reader.path, f"{kernel}.omega", roots)


def _length(path: Path, name: str, roots: np.ndarray) -> int:
    """L of the roots of unity exp(-2 pi i k / L), k = 0..L/2, [L / 2 + 1, 2]; 0 in the place of missing ones."""
    if len(roots) < 2:
        return 0
    angle = math.atan2(-roots[1, 1], roots[1, 0])
    length = 2 * math.pi / angle if angle > 0 else 0.0
    # Not rounded before it is known to be in proportion to the file.
    if not 2 * len(roots) - 2.5 < length < 2 * len(roots) - 0.5:
        raise UserError(f"{path}: {name} is not made of roots of unity of one length: convert the checkpoint again")
    return round(length)


def _check_shapes(path: Path, net: Any, params: Any, shape: tuple[int, int]) -> None:
    x, t = jax.ShapeDtypeStruct((1, *shape), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.float32)
    labels = jax.ShapeDtypeStruct((1,), jnp.int32) if net.num_classes else None
    ours: dict[str, Any] = flax.traverse_util.flatten_dict(params_of(net, x, t, labels), sep="/")
    theirs: dict[str, Any] = flax.traverse_util.flatten_dict(params, sep="/")
    wrong = [
        f"{name} (is {list(theirs[name].shape)}, not {list(leaf.shape)})"
        for name, leaf in ours.items()
        if theirs[name].shape != leaf.shape
    ]
    _refuse(path, "does not fit together; of other shapes than SSSD-ECG has are", wrong)


def _refuse(path: Path, what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise UserError(f"{path} {what} {', '.join(names[:3])}{more}: convert the whole state dict of one SSSD_ECG")
