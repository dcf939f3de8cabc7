"""Data flows one way: the package's import graph has no circle, and lower floors never import higher ones."""

import ast
import graphlib
from pathlib import Path

import tgdp_jax

ROOT = Path(tgdp_jax.__file__).parent
# Floors from the ground up; a module may import its own floor and those below.
FLOORS = (
    ("errors",),
    ("runtime",),
    ("sde", "prediction", "density_ratio", "guidance", "losses"),
    ("nets", "sampling", "data"),
    ("train", "metrics", "interop"),
    ("settings",),
    ("transfer",),
    ("app", "__main__"),
)
# Who may import the application, beside the application itself.
ABOVE = ("examples", "experiments")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in ROOT.rglob("*.py")}


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            # `from package import module` names a module, `from module import name` does not.
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name in MODULES}


def edges() -> dict[str, set[str]]:
    graph = {}
    for name, path in MODULES.items():
        # A package's face re-exports its own files; that is no dependence of theirs on it.
        graph[name] = {other for other in imported(path) if other != name and not name.startswith(other + ".")}
    return graph


def test_there_is_no_import_circle():
    graph = edges()
    assert sum(map(len, graph.values())) > len(graph)  # the scan found the imports
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_lower_floors_do_not_import_higher_ones():
    floor_of = {name: i for i, names in enumerate(FLOORS) for name in names}
    for name, others in edges().items():
        if name == "tgdp_jax":
            continue
        mine = floor_of[name.split(".")[1]]
        for other in others - {"tgdp_jax"}:
            assert floor_of[other.split(".")[1]] <= mine, f"{name} imports {other}, which stands above it"
