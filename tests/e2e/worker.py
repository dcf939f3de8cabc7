"""A worker of a comparison with the few-row metrics of these tests, which is killed once where a test asks for that.

That is after a launch whose curves are written and whose state is not saved.
"""

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

    def save_or_die(session, state, key, history, *, now):
        mark = Path(os.environ[KILL])
        if session.stage == "lora" and history["step"][-1] == 20 and not mark.exists():
            session.partial.close()  # what the launch before has saved is there
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        save(session, state, key, history, now=now)

    if KILL in os.environ:
        Session.save = save_or_die
    child.main()


if __name__ == "__main__":
    main()
