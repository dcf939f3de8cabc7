"""Transfer guided diffusion in JAX: carry a pretrained diffusion model over to a small target data set.

The pieces, from the ground up: `sde`, `prediction`, `guidance`, `density_ratio`, `losses`, `nets`, `sampling`, `data`,
`train`, `transfer` (the registry of methods is `transfer.METHODS`), `metrics`, `diagnose`.
"""

__version__ = "0.1.0"
