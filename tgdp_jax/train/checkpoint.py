"""Finished stages on disk: an orbax checkpoint of the arrays beside a JSON file of facts and curves.

A stage's folder appears in one rename, complete or not at all. Its name carries a fingerprint of everything the result
depends on, so that a stage is found again by whoever needs the same one, and never mistaken for another.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from tgdp_jax.errors import UserError


def _digest(tree: Any) -> str:
    """Hash of every leaf's path, dtype, shape and bytes."""
    out = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = np.ascontiguousarray(leaf)
        out.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        out.update(array.tobytes())
    return out.hexdigest()


class Store:
    """Stage results under one folder.

    Args:
      root: folder; made when the first stage is saved.
    """

    def __init__(self, root: Path):
        self.root = Path(root).absolute()

    def path(self, name: str, fingerprint: str) -> Path:
        """Folder of a stage."""
        return self.root / f"{name}-{fingerprint[:16]}"

    def save(self, name: str, fingerprint: str, tree: Any, facts: dict[str, Any]) -> None:
        """Writes a finished stage: `tree` (nested dicts of arrays) and `facts` (JSON-able).

        Raises:
          UserError: the place can not be written or is full; nothing half-written is left.
        """
        final = self.path(name, fingerprint)
        part = self.root / f".{final.name}.{uuid.uuid4().hex[:8]}"
        tree = jax.tree.map(np.asarray, tree)
        try:
            part.mkdir(parents=True)
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(part / "arrays", tree)
            text = json.dumps({"stage": name, "fingerprint": fingerprint, "digest": _digest(tree), **facts})
            (part / "stage.json").write_text(text)
            if final.exists():
                shutil.rmtree(final)
            os.replace(part, final)
        # Orbax reports a full disk as an OSError or, from its storage layer, as a ValueError.
        except (OSError, ValueError) as error:
            raise UserError(
                f"checkpoint {final} can not be written ({error}): free some space or choose another --out; finished "
                "stages are kept"
            ) from error
        finally:
            # Gone already where all went well; an interrupt leaves nothing half-written either.
            shutil.rmtree(part, ignore_errors=True)

    def load(self, name: str, fingerprint: str) -> tuple[Any, dict[str, Any]] | None:
        """(tree, facts) of a finished stage, or None where there is none.

        Raises:
          UserError: what is there is damaged.
        """
        folder = self.path(name, fingerprint)
        if not folder.exists():
            return None
        try:
            facts = json.loads((folder / "stage.json").read_text())
            with ocp.StandardCheckpointer() as checkpointer:
                tree = jax.tree.map(np.asarray, checkpointer.restore(folder / "arrays"))
            if facts["fingerprint"] != fingerprint or facts["digest"] != _digest(tree):
                raise ValueError("its contents do not match its record")
        # Whatever a damaged file makes the storage layer raise, the remedy is the same.
        except Exception as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise UserError(
                f"checkpoint {folder} is damaged ({reason}): delete that folder and run again to train this stage anew"
            ) from error
        return tree, facts
