"""Weights in files: diffusers folders of unconditional and class-conditional U-Nets, and low-rank adapters."""

from tgdp_jax.interop.adapters import load_adapters, save_adapters
from tgdp_jax.interop.diffusers import DiffusersUNet, load_unet, save_unet, unet_files

__all__ = ["DiffusersUNet", "load_adapters", "load_unet", "save_adapters", "save_unet", "unet_files"]
