"""From records in mV to a transfer problem."""

from __future__ import annotations

import numpy as np

from tgdp_jax.data.problem import Data, Problem, Scaler


def lead_scaler(x: np.ndarray) -> Scaler:
    """One scale a lead, its standard deviation over rows and time of x [N, T, 8]; nothing is shifted.

    Chest leads are two to three times as large as limb leads: with one scale for all, noise would drown the waves of
    some leads long before those of others. Time has no place of its own, as records begin at any phase of the beat, and
    zero volts keep their meaning: relations between leads stay free of constants.
    """
    scale = np.sqrt(np.mean([np.mean(row.astype(np.float64) ** 2, axis=0) for row in x], axis=0))
    # In float32, so that large sets are not doubled on the way.
    return Scaler(np.zeros(x.shape[-1], np.float32), np.where(scale > 0, scale, 1.0).astype(np.float32))


def ecg_problem(
    name: str,
    source: Data,
    target: Data,
    reference: Data | None,
    *,
    classes: tuple[str, ...],
    conditional: bool,
    rate: int,
    notes: tuple[str, ...] = (),
) -> Problem:
    """A problem of rows in mV [N, T, 8], scaled by the source's leads."""
    scaler = lead_scaler(source.x)

    def scaled(data: Data) -> Data:
        return Data(scaler.to_model(data.x), data.y)

    return Problem(
        name,
        scaled(source),
        scaled(target),
        None if reference is None else scaled(reference),
        num_classes=len(classes) if conditional else 0,
        scaler=scaler,
        ecg_rate=rate,
        classes=classes,
        notes=notes,
    )
