"""`python -m tgdp_jax` is `tgdp`."""

from tgdp_jax.app.cli import main

if __name__ == "__main__":
    main()
