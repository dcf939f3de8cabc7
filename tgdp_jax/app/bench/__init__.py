"""Throughput of samplers and training loop, as ratios to what the machine can do in the same minutes."""
