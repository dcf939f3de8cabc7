"""diffusers' side of the comparisons, and how close is close."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.interop.models import scaled_weight

torch = pytest.importorskip("torch", reason="needs torch: python -m pip install -e '.[interop-test]'")
diffusers = pytest.importorskip("diffusers", reason="needs diffusers: python -m pip install -e '.[interop-test]'")


def randomised(net: Any, seed: int = 0) -> Any:
    """A net of diffusers, every parameter random."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            shape = tuple(parameter.shape)
            weight = scaled_weight(rng, shape, int(np.prod(shape[1:])), "norm" in name and name.endswith("weight"))
            parameter.copy_(torch.from_numpy(np.asarray(weight)))
    return net.eval()


def channels_first(x: Any) -> Any:
    """A tensor [B, C, H, W] of an array [B, H, W, C]."""
    return torch.from_numpy(np.array(x).transpose(0, 3, 1, 2).copy())


def channels_last(x: Any) -> np.ndarray:
    """Inverse of `channels_first`."""
    return x.detach().numpy().transpose(0, 2, 3, 1)


def assert_close(ours: Any, theirs: np.ndarray, rtol: float = 1e-4, small: float = 0.1) -> None:
    """Both agree to `rtol` of theirs, and where they are small, to the share `small` of that of the largest."""
    scale = np.abs(theirs).max()
    assert 0.05 < scale < 100 and theirs.std() > 0.05 * scale  # weights say something
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=rtol, atol=small * rtol * scale)
