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
    ("bounds", "registry", "sde", "prediction", "density_ratio", "guidance", "losses"),
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


def test_nobody_below_imports_the_application():
    for name, path in MODULES.items():
        # The front door names it, and resolves it when it is asked for.
        if name.split(".")[1:2] not in ([], ["app"], ["__main__"]):
            above = {other for other in imported(path) if other.split(".")[1:2] == ["app"]}
            assert not above, f"{name} imports {above}: only {' and '.join(ABOVE)} may"


# Lists of names that settings are checked against; everything else of these packages is for those who build.
REGISTRIES = {
    "tgdp_jax.nets": {"NETWORKS", "EMBEDDINGS", "KERNELS", "PRECISIONS"},
    "tgdp_jax.sampling": {"GRIDS", "SOLVERS"},
    "tgdp_jax.interop": set(),
    "tgdp_jax.runtime": set(),
    "flax": set(),
    "optax": set(),
}
OPENING = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "load", "exists", "iterdir", "stat"}
BUILDING = {"init", "apply", "build", "clone"}


def test_settings_open_no_file_and_build_no_network():
    settings = {name: path for name, path in MODULES.items() if name.startswith("tgdp_jax.settings")}
    assert len(settings) > 5
    for name, path in settings.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                assert called not in OPENING | BUILDING, f"{name} calls {called}"
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            for module in modules:
                for package, allowed in REGISTRIES.items():
                    if f"{module}.".startswith(package + "."):
                        assert module.rpartition(".")[2] in allowed, f"{name} imports {module}"
