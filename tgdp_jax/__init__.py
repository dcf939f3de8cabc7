"""TGDP: transfer guided diffusion in JAX."""
