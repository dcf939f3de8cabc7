"""How good samples and score models are; one file an idea.

`evaluate` runs everything under the names of `evaluate.METRICS`, `images` what images have beside on learned
`features` (`frechet`, `two_sample_classifier`, `utility`); `two_sample`, `coverage` and `memorisation` need data
alone, `likelihood` a score, `closed_form` a Gaussian-mixture target. `spread` says how far a number can be trusted.

Import from the files: several functions bear the name of their file.
"""
