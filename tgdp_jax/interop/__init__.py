"""Models in files: pipelines of diffusers and their parts, SSSD-ECG's state dicts, adapters and embeddings."""

from typing import TYPE_CHECKING

from tgdp_jax.runtime.lazy import public

if TYPE_CHECKING:
    from tgdp_jax.interop.adapters import load_adapters, save_adapters
    from tgdp_jax.interop.autoencoder import read_autoencoder, write_autoencoder
    from tgdp_jax.interop.clip_text import read_text_encoder, write_text_encoder
    from tgdp_jax.interop.diffusers import DiffusersUNet, load_unet, save_unet, unet_files
    from tgdp_jax.interop.embeddings import read_embedding, write_embedding
    from tgdp_jax.interop.image_encoder import ImageEncoder, load_image_encoder
    from tgdp_jax.interop.latent_dit import read_dit, write_dit
    from tgdp_jax.interop.latent_unet import latent_score, read_unet, write_unet
    from tgdp_jax.interop.lora import read_lora, write_lora
    from tgdp_jax.interop.pipeline import LabelPipeline, Pipeline, TextPipeline
    from tgdp_jax.interop.pipeline_folder import load_pipeline, pipeline_files, write_pipeline
    from tgdp_jax.interop.schedulers import read_scheduler
    from tgdp_jax.interop.sssd import SSSDModel, load_sssd
    from tgdp_jax.interop.tokenizer import read_tokenizer, write_tokenizer

__all__ = [
    "DiffusersUNet",
    "ImageEncoder",
    "LabelPipeline",
    "Pipeline",
    "SSSDModel",
    "TextPipeline",
    "latent_score",
    "load_adapters",
    "load_image_encoder",
    "load_pipeline",
    "load_sssd",
    "load_unet",
    "pipeline_files",
    "read_autoencoder",
    "read_dit",
    "read_embedding",
    "read_lora",
    "read_scheduler",
    "read_text_encoder",
    "read_tokenizer",
    "read_unet",
    "save_adapters",
    "save_unet",
    "unet_files",
    "write_autoencoder",
    "write_dit",
    "write_embedding",
    "write_lora",
    "write_pipeline",
    "write_text_encoder",
    "write_tokenizer",
    "write_unet",
]

__getattr__ = public(
    __name__,
    {
        "adapters": (
            "load_adapters",
            "save_adapters",
        ),
        "autoencoder": (
            "read_autoencoder",
            "write_autoencoder",
        ),
        "clip_text": (
            "read_text_encoder",
            "write_text_encoder",
        ),
        "diffusers": (
            "DiffusersUNet",
            "load_unet",
            "save_unet",
            "unet_files",
        ),
        "embeddings": (
            "read_embedding",
            "write_embedding",
        ),
        "image_encoder": (
            "ImageEncoder",
            "load_image_encoder",
        ),
        "latent_dit": (
            "read_dit",
            "write_dit",
        ),
        "latent_unet": (
            "latent_score",
            "read_unet",
            "write_unet",
        ),
        "lora": (
            "read_lora",
            "write_lora",
        ),
        "pipeline": (
            "LabelPipeline",
            "Pipeline",
            "TextPipeline",
        ),
        "pipeline_folder": (
            "load_pipeline",
            "pipeline_files",
            "write_pipeline",
        ),
        "schedulers": ("read_scheduler",),
        "sssd": (
            "SSSDModel",
            "load_sssd",
        ),
        "tokenizer": (
            "read_tokenizer",
            "write_tokenizer",
        ),
    },
)
