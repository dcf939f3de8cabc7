"""Pretrained weights by others: diffusers folders of unconditional and class-conditional U-Nets."""

from tgdp_jax.interop.diffusers import DiffusersUNet, load_unet, save_unet, unet_files

__all__ = ["DiffusersUNet", "load_unet", "save_unet", "unet_files"]
