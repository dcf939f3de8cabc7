"""Options of runs, as frozen keyword-only dataclasses. Nothing here opens a file or builds a network."""
