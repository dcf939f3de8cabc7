"""A worker of a comparison with the few-row metrics of these tests, which is killed once where a test asks for that."""

import functools
import os
import signal
from pathlib import Path

from tgdp_jax.app import evaluation
from tgdp_jax.app.workers import child
from tgdp_jax.data import gaussians
from tgdp_jax.metrics import likelihood
from tgdp_jax.metrics.evidence import Evidence
from tgdp_jax.train.session import Session

# Of a file whose absence asks for it.
KILL = "TGDP_JAX_TESTS_KILL_ONCE"


def main():
    gaussians.NUM_REFERENCE = 300
    evaluation.Evidence = functools.partial(Evidence, num_path=500, num_likelihood=20)
    likelihood.log_likelihood = functools.partial(likelihood.log_likelihood, chunk=20)
    save = Session.save

    def save_and_die(session, *args, **kwargs):
        save(session, *args, **kwargs)
        mark = Path(os.environ[KILL])
        if session.stage == "lora" and not mark.exists():
            session.partial.close()
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    if KILL in os.environ:
        Session.save = save_and_die
    child.main()


if __name__ == "__main__":
    main()
