"""What devices can do at best, by their data sheets: the denominator of model FLOPs utilisation.

Utilisation (Chowdhery et al. 2022, "PaLM", appendix B) is the arithmetic that a model asks for over what the device
could have done in that time. It compares machines, which a share of the rate that was measured on each does not.
"""

from __future__ import annotations

# TFLOP/s of dense matrix products in (bfloat16, float32), by how JAX calls the device. Unless it is told otherwise, JAX
# multiplies float32 as TF32 on these GPUs and as bfloat16 on TPUs. A name stands before those that it begins with.
_TFLOPS: dict[str, tuple[float, float]] = {
    "NVIDIA A100": (312, 156),
    "NVIDIA H100 80GB HBM3": (989.4, 494.7),
    "NVIDIA H100 PCIe": (756, 378),
    "NVIDIA H200 NVL": (835.5, 417.5),
    "NVIDIA H200": (989.4, 494.7),
    "NVIDIA L40S": (362, 183),
    "NVIDIA L4": (121, 60),
    "TPU v4 lite": (138, 138),
    "TPU v4": (275, 275),
    "TPU v5 lite": (197, 197),
    "TPU v5": (459, 459),
    "TPU v6 lite": (918, 918),
}


def peak_flops(device: str, precision: str) -> float | None:
    """Operations per second of dense matrix products by the data sheet of a device; None where it is not known.

    Args:
      device: its kind, as JAX names it.
      precision: that is multiplied in, float32 or bfloat16.
    """
    found = next((rates for name, rates in _TFLOPS.items() if device.startswith(name)), None)
    return None if found is None else 1e12 * found[precision == "float32"]
