"""Low-rank adapters (LoRA) of text-to-image pipelines, in files as diffusers writes them, and others that it reads.

An adapter changes a kernel W to W + weight (alpha / rank) B A. Alpha is in the file's metadata, as diffusers and peft
write it (`lora_adapter_metadata`), in a tensor beside (kohya's scripts), or is the rank where a file of diffusers says
nothing. With another alpha the change would have another strength, so that a file of which it is not known is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from tgdp_jax.errors import UserError
from tgdp_jax.interop.files import PICKLES, named, pickled, read_json, readable, shown
from tgdp_jax.interop.lora_names import PARTS, PEFT, TEXT, TEXT_2, taken_apart, with_aliases
from tgdp_jax.interop.tensors import finite, read_metadata, read_tensors, their_name
from tgdp_jax.interop.weights import write_tensors
from tgdp_jax.train.reparam import Joint, LowRank, flat, matrix_shape, nested

NAME = "pytorch_lora_weights.safetensors"
METADATA = "lora_adapter_metadata"
_PEFT_NAME, _PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
# What changes a kernel in another way than by a product of two factors.
_OTHERS = {
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "lora_mid": "CP decomposition",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "lora_embedding": "adapters of embeddings",
    r"diff(_b)?$": "full differences",
}


class Adapters(NamedTuple):
    """Adapters of one part of a pipeline.

    Attributes:
      reparam: what they are, one `LowRank` for every pair of rank and alpha.
      tree: the factors, as `reparam` has them.
    """

    reparam: Joint
    tree: Any


def merge(base: Any, adapters: Adapters, weight: float = 1.0) -> Any:
    """Parameters with adapters at a weight, each changed kernel a new array; another weight is no other program."""
    scaled = {path: value * weight if path.endswith("/b") else value for path, value in flat(adapters.tree).items()}
    return adapters.reparam.merge(base, nested(scaled))


def read_lora(path: str | Path, bases: Mapping[str, Any]) -> dict[str, Adapters]:
    """Reads adapters of the parts of a pipeline.

    Args:
      path: a .safetensors file, or a folder that holds pytorch_lora_weights.safetensors or adapter_model.safetensors.
      bases: parameters of the parts by name ("unet", "text_encoder", "text_encoder_2"), anything with their shapes.

    Returns:
      Adapters by the name of the part that they change.

    Raises:
      UserError: the file can not be read or is pickled, is of another kind of adapter or another model, or does not say
        its alpha.
    """
    file = _file(Path(path))
    tensors, metadata = read_tensors(file), read_metadata(file)
    kernels = {part: _kernels(base) for part, base in bases.items()}
    found = _sorted_out(file, tensors, kernels)
    scales = _Scales(file, metadata, peft=any(name.startswith(PEFT) for name in tensors))
    groups: dict[str, dict[tuple[int, float], dict[str, np.ndarray]]] = {}
    for (part, module), own in found.items():
        if not own.keys() >= {"a", "b"}:
            raise UserError(f"{file}: of {part}.{module} one of two factors is missing: fetch the file again")
        kernel, shape = kernels[part][module]
        a, b = (finite(own[factor], f"{part}.{module}", str(file)) for factor in ("a", "b"))
        a = a.transpose(2, 3, 1, 0).reshape(-1, len(a)) if a.ndim == 4 else a.T
        b = b.reshape(len(b), -1).T
        inputs, outputs = matrix_shape(kernel, shape)
        if a.ndim != 2 or a.shape[0] != inputs or b.shape != (a.shape[1], outputs):
            raise UserError(
                f"{file} is a LoRA of another model: {part}.{module} changes {a.shape[0]} inputs and {b.shape[-1]} "
                f"outputs where this one has {inputs} and {outputs}"
            )
        rank = a.shape[1]
        group = groups.setdefault(part, {}).setdefault((rank, scales.alpha(part, module, rank, own.get("alpha"))), {})
        group[f"{kernel}/a"], group[f"{kernel}/b"] = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return {part: _adapters(own) for part, own in groups.items()}


def write_lora(path: str | Path, adapters: Mapping[str, Any], bases: Mapping[str, Any]) -> Path:
    """Writes adapters as a file that diffusers' `load_lora_weights` and `read_lora` read, with their alpha.

    Args:
      path: a .safetensors file, or a folder, where it gets diffusers' name.
      adapters: by the name of the part, as `read_lora` returns them, or (LowRank, its trainable tree).
      bases: see `read_lora`.

    Returns:
      The file.

    Raises:
      UserError: no adapters, adapters of a part or a kernel that there is not, or a place that can not be written.
    """
    path = Path(path)
    path = path if path.suffix == ".safetensors" else path / NAME
    arrays, metadata = {}, {}
    for part, (reparam, tree) in adapters.items():
        if part not in bases or part not in PARTS:
            raise UserError(f"there is no part {named(part)} to have adapters: parts are {', '.join(bases)}")
        groups: list[tuple[Any, Any]] = [(reparam, tree)]
        if isinstance(reparam, Joint):
            groups = [(one, tree[str(i)]) for i, one in enumerate(reparam.parts)]
        tensors, config = _of_part(part, groups, flat(bases[part]))
        arrays |= tensors
        metadata |= {f"{part}.{name}": value for name, value in config.items()}
    if not arrays:
        raise UserError(f"{path} would hold no adapters: give those of one part at least")
    # diffusers reads files that say what they were written from.
    write_tensors(path, arrays, {"format": "pt", METADATA: json.dumps(metadata, indent=2, sort_keys=True)})
    return path


def _of_part(
    part: str, groups: list[tuple[LowRank, Any]], base: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(tensors, peft's config) of one part's adapters."""
    arrays, ranks, alphas = {}, {}, {}
    for low_rank, own in groups:
        factors = flat(own)
        for kernel in dict.fromkeys(name.rpartition("/")[0] for name in factors):
            if kernel not in base:
                raise UserError(f"there are adapters of {kernel}, which the base has not: give the base they are of")
            module = _module(kernel)
            a, b = (np.asarray(factors[f"{kernel}/{factor}"], np.float32) for factor in ("a", "b"))
            rank, shape = a.shape[1], base[kernel].shape
            # A convolution's factors are convolutions.
            down = a.reshape(*shape[:-1], rank).transpose(3, 2, 0, 1) if len(shape) == 4 else a.T
            up = b.T.reshape(-1, rank, 1, 1) if len(shape) == 4 else b.T
            prefix = "text_model." if part in (TEXT, TEXT_2) and not module.startswith("text_projection") else ""
            for factor, value in (("A", down), ("B", up)):
                arrays[f"{part}.{prefix}{module}.lora_{factor}.weight"] = np.ascontiguousarray(value)
            # Of kernels with fewer rows or columns than the rank the scale is that of all.
            ranks[module], alphas[module] = rank, low_rank.scale * rank
    rank, alpha = _most(ranks), _most(alphas)
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {module: value for module, value in ranks.items() if value != rank},
        "alpha_pattern": {module: value for module, value in alphas.items() if value != alpha},
        # Without a prefix: peft takes modules whose names end so, as those of every version of transformers do.
        "target_modules": sorted(ranks),
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
    }
    return arrays, config


def _module(kernel: str) -> str:
    """diffusers' name of the module that a kernel's path is of."""
    return their_name(tuple(kernel.removeprefix("params/").split("/"))).removesuffix(".weight")


def _most(values: Mapping[str, Any]) -> Any:
    """The most frequent value."""
    found = list(values.values())
    return max(dict.fromkeys(found), key=found.count) if found else 1


def _file(path: Path) -> Path:
    with readable(path):
        if path.is_dir():
            names = [name for name in (NAME, _PEFT_NAME) if (path / name).exists()]
            if not names:
                pickle = next((file for file in sorted(path.iterdir()) if file.suffix in PICKLES), None)
                if pickle is not None:
                    raise pickled(pickle)
                raise UserError(f"{path} has neither {NAME} nor {_PEFT_NAME}: give a file of adapters")
            return path / names[0]
        if path.suffix in PICKLES:
            raise pickled(path)
    return path


def _kernels(base: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """A part's modules with a kernel: (its path, its shape)."""
    return {_module(path): (path, tuple(leaf.shape)) for path, leaf in flat(base).items() if path.endswith("/kernel")}


def _sorted_out(
    file: Path, tensors: Mapping[str, np.ndarray], kernels: Mapping[str, Mapping[str, Any]]
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """Factors and alphas by (part, module).

    Raises:
      UserError: names of no low-rank adapter, or of modules that the pipeline lacks; they are named.
    """
    aliases = {part: with_aliases(modules) for part, modules in kernels.items()}
    out: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    unknown = []
    for key, value in tensors.items():
        other = next((kind for sign, kind in _OTHERS.items() if re.search(rf"(^|[._]){sign}", key)), None)
        if other is not None:
            raise UserError(f"{file} holds {key[:80]}, as of {other}: only low-rank adapters (LoRA) are supported")
        name = taken_apart(key)
        if name is None:
            raise UserError(f"{file} holds {key[:80]}, which is no tensor of a LoRA: give a file of low-rank adapters")
        places = [name.part] if name.part else list(kernels)
        place = next((part for part in places if name.module in aliases.get(part, {})), None)
        if place is None:
            unknown.append(f"{name.part}.{name.module}" if name.part else name.module)
        else:
            out.setdefault((place, aliases[place][name.module]), {})[name.factor] = value
    if unknown:
        names = list(dict.fromkeys(unknown))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise UserError(
            f"{file} is a LoRA of another model: it changes {', '.join(names[:3])}{more}, which this one has not"
        )
    return out


def _adapters(groups: dict[tuple[int, float], dict[str, np.ndarray]]) -> Adapters:
    parts = tuple(LowRank(rank, alpha) for rank, alpha in groups)
    tree = {str(i): nested(own) for i, own in enumerate(groups.values())}
    return Adapters(Joint(parts), jax.tree.map(np.asarray, tree))


class _Scales:
    """What a file says of alpha.

    Args:
      file: the file.
      metadata: of it.
      peft: whether it is of peft alone, whose config is in a file beside.
    """

    def __init__(self, file: Path, metadata: Mapping[str, str], peft: bool):
        self._file, self._configs = file, {}
        if METADATA in metadata:
            try:
                values = json.loads(metadata[METADATA])
            except (ValueError, RecursionError):
                values = None
            if not isinstance(values, dict):
                raise UserError(f"{file}: its metadata's {METADATA} is no JSON object: fetch the file again")
            for name, value in values.items():
                part, _, option = name.partition(".")
                self._configs.setdefault(part if part in PARTS else None, {})[option if part in PARTS else name] = value
        elif peft:
            config = file.parent / _PEFT_CONFIG
            if not config.exists():
                raise UserError(
                    f"{file} is of peft, and {_PEFT_CONFIG}, which says its alpha, is not beside it: fetch it too, or "
                    "the adapters would have another strength"
                )
            self._configs[None] = read_json(config)

    def alpha(self, part: str, module: str, rank: int, tensor: np.ndarray | None) -> float:
        """Alpha of one kernel's adapter.

        Raises:
          UserError: it is not known, or no number.
        """
        if tensor is not None:
            value = float(tensor.reshape(-1)[0]) if tensor.size == 1 else math.nan
        elif self._configs:
            value = self._of_config(part, module, rank)
        else:
            value = rank  # so diffusers reads what says nothing
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= 1e6:
            raise UserError(
                f"{self._file}: alpha of {part}.{module} is {shown(value)}, no number: fetch the file again"
            )
        return float(value)

    def _of_config(self, part: str, module: str, rank: int) -> Any:
        config = self._configs.get(part, self._configs.get(None))
        if config is None or "lora_alpha" not in config:
            raise UserError(
                f"{self._file}: its metadata say nothing of the alpha of {part}, whose adapters would have another "
                "strength: write it anew with the metadata of all parts"
            )
        if config.get("use_dora"):
            raise UserError(f"{self._file} is of DoRA: only low-rank adapters (LoRA) are supported")
        patterns = config.get("alpha_pattern") or {}
        value = config["lora_alpha"]
        for pattern, own in patterns.items() if isinstance(patterns, dict) else ():
            name = pattern.removeprefix("text_model.")
            if module == name or module.endswith(f".{name}"):
                value = own
        # Rank-stabilised adapters are scaled by alpha / sqrt(rank).
        return value * math.sqrt(rank) if config.get("use_rslora") and isinstance(value, (int, float)) else value
