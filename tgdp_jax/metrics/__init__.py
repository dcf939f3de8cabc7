"""How good samples and score models are; one file an idea.

`registry` has one entry a metric and measures all that apply to `evidence`; `on_rows`, `on_features`, `on_density`,
`on_labels` and `ecg` are what entries compute, by what they need. `evaluate` and `images` take plain arrays. The
measures themselves know nothing of these: `two_sample`, `coverage` and `memorisation` need data alone, `frechet` and
`two_sample_classifier` features, `likelihood` a score, `closed_form` a Gaussian-mixture target.
`spread` says how far a number can be trusted.

Import from the files: several functions bear the name of their file.
"""
