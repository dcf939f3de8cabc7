"""Weights in files: diffusers folders of U-Nets, SSSD-ECG's state dicts, and low-rank adapters."""

from tgdp_jax.interop.adapters import load_adapters, save_adapters
from tgdp_jax.interop.diffusers import DiffusersUNet, load_unet, save_unet, unet_files
from tgdp_jax.interop.sssd import SSSDModel, load_sssd

__all__ = [
    "DiffusersUNet",
    "SSSDModel",
    "load_adapters",
    "load_sssd",
    "load_unet",
    "save_adapters",
    "save_unet",
    "unet_files",
]
