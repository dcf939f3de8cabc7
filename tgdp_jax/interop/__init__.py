"""Weights in files: diffusers folders of U-Nets and transformers, SSSD-ECG's state dicts, and low-rank adapters."""

from tgdp_jax.interop.adapters import load_adapters, save_adapters
from tgdp_jax.interop.diffusers import DiffusersUNet, load_unet, save_unet, unet_files
from tgdp_jax.interop.latent_dit import read_dit, write_dit
from tgdp_jax.interop.latent_unet import latent_score, read_unet, write_unet
from tgdp_jax.interop.schedulers import read_scheduler
from tgdp_jax.interop.sssd import SSSDModel, load_sssd

__all__ = [
    "DiffusersUNet",
    "SSSDModel",
    "latent_score",
    "load_adapters",
    "load_sssd",
    "load_unet",
    "read_dit",
    "read_scheduler",
    "read_unet",
    "save_adapters",
    "save_unet",
    "unet_files",
    "write_dit",
    "write_unet",
]
