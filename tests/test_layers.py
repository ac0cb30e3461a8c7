"""Imports go one way, in few levels.

    names, protocols -> data -> losses -> backbone -> systems        phase one
    optim -> rectify;  report;  checks of both                        phase two, on arrays
    workflows join all of it with cache and plots;  cli -> workflows

The foundations are for everybody; `cache` and `plots` know nothing of ours.
"""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_LEVELS = 16  # 14 below `reproduce`, whose runs are other commands


def ours(*names):
    return {f"marr_pipeline.{name}" for name in names}


FOUNDATIONS = ours(
    "names", "protocols", "errors", "groups", "labels", "progress", "files", "notebook", "plugins"
)
FOUNDATIONS |= ours("findings", "device", "distributed", "reading", "tensor_file", "state_dict")
ROOMS = ours(
    *("cache", "plots", "data", "losses", "backbone", "systems"),
    *("optim", "rectify", "report", "checks"),
)
ALLOWED = {
    "marr_pipeline.cache": set(),
    "marr_pipeline.plots": set(),
    "marr_pipeline.names": set(),
    "marr_pipeline.errors": set(),
    "marr_pipeline.groups": ours("errors"),
    "marr_pipeline.findings": ours("names", "errors"),
    "marr_pipeline.labels": ours("errors"),
    "marr_pipeline.notebook": set(),
    "marr_pipeline.plugins": ours("errors"),
    "marr_pipeline.progress": set(),
    "marr_pipeline.protocols": ours("names"),
    "marr_pipeline.files": ours("names", "errors"),
    "marr_pipeline.device": ours("names", "errors"),
    "marr_pipeline.distributed": ours("errors"),
    "marr_pipeline.reading": ours("errors"),
    "marr_pipeline.tensor_file": ours("device", "errors", "reading"),
    "marr_pipeline.state_dict": ours("errors"),
    "marr_pipeline.data": FOUNDATIONS,
    "marr_pipeline.losses": FOUNDATIONS | ours("data"),
    "marr_pipeline.backbone": FOUNDATIONS | ours("data", "losses"),
    "marr_pipeline.systems": FOUNDATIONS | ours("data", "losses", "backbone"),
    "marr_pipeline.optim": FOUNDATIONS,
    "marr_pipeline.rectify": FOUNDATIONS | ours("optim"),
    "marr_pipeline.report": FOUNDATIONS,
    "marr_pipeline.checks": FOUNDATIONS | ours("optim", "rectify", "report"),
    "marr_pipeline.estimator": FOUNDATIONS
    | ours("optim", "rectify", "checks", "workflows.distribution", "workflows.arrays"),
    "marr_pipeline.workflows": FOUNDATIONS | ROOMS,
    "marr_pipeline.cli": FOUNDATIONS | ours("workflows"),
    "marr_pipeline.__main__": ours("cli"),
}
FORBIDDEN_LIBRARIES = {
    "marr_pipeline.cache": {"torch", "torchvision", "matplotlib", "click"},
    "marr_pipeline.plots": {"torch", "torchvision", "h5py", "click"},
    "marr_pipeline.names": {"torch", "numpy"},
    "marr_pipeline.progress": {"torch", "numpy", "click"},
    "marr_pipeline.protocols": {"torch", "numpy"},
    "marr_pipeline.optim": {"torchvision", "h5py", "matplotlib", "click"},
    "marr_pipeline.rectify": {"torchvision", "h5py", "matplotlib", "click"},
    "marr_pipeline.report": {"torchvision", "h5py", "matplotlib", "click"},
    "marr_pipeline.data": {"click", "h5py", "matplotlib"},
    "marr_pipeline.backbone": {"click", "h5py", "matplotlib"},
    "marr_pipeline.workflows": {"click"},
}


def name_of(source):
    """`pipeline/cli/plot.py` -> `marr_pipeline.cli.plot`."""
    parts = source.relative_to(ROOT).with_suffix("").parts
    inner = parts[1:] if parts[0] == "pipeline" else parts
    return ".".join(("marr_pipeline", *inner)).removesuffix(".__init__")


MODULES = {
    name_of(source): source
    for folder in ("pipeline", "cache", "plots")
    for source in sorted((ROOT / folder).rglob("*.py"))
}


def lies_in(module, part):
    return module == part or module.startswith(part + ".")


@cache
def imports_of(module):
    """What a module imports, in functions too, as far as it runs: modules and names in them."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found, for_types_alone = set(), set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        (for_types_alone if node in for_types else found).update(names)
    return found, for_types_alone


def modules_in(names):
    """The modules of ours that stand behind imported names."""
    return {name if name in MODULES else name.rpartition(".")[0] for name in names} & set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_flow_of_data(module):
    if module == "marr_pipeline":
        return  # its names are loaded when they are asked for
    (part,) = (part for part in ALLOWED if lies_in(module, part))
    allowed = {part, *ALLOWED[part]}
    imported = modules_in(set.union(*imports_of(module))) - {"marr_pipeline"}
    outside = {other for other in imported if not any(lies_in(other, one) for one in allowed)}
    assert not outside


@pytest.mark.parametrize("part", FORBIDDEN_LIBRARIES)
def test_libraries_stay_in_their_part(part):
    imported = set().union(
        *(names for module in MODULES if lies_in(module, part) for names in imports_of(module))
    )
    assert not {name.split(".")[0] for name in imported} & FORBIDDEN_LIBRARIES[part]


def test_few_levels():
    """The longest chain of modules that import one another, which a reader climbs down."""
    chains = {}

    def chain(module, above=()):
        if module in above:
            return ()
        if module not in chains:
            below = modules_in(imports_of(module)[0]) - {module}
            tails = [chain(other, (*above, module)) for other in sorted(below)]
            chains[module] = (module, *max(tails, key=len, default=()))
        return chains[module]

    longest = max(map(chain, MODULES), key=len)
    assert len(longest) <= MOST_LEVELS, " > ".join(longest)


def loaded_after(statement):
    probe = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def test_help_loads_neither_torch_nor_matplotlib_nor_h5py():
    loaded = loaded_after(
        "import contextlib; from marr_pipeline.cli import cli; "
        "contextlib.suppress(SystemExit).__enter__(); "
        "cli.main(['--help'], standalone_mode=False)"
    )
    assert not loaded & {"torch", "torchvision", "matplotlib", "h5py", "numpy", "sklearn", "scipy"}


def test_the_package_alone_loads_neither_torch_nor_numpy():
    assert not loaded_after("import marr_pipeline") & {"torch", "numpy", "h5py", "sklearn"}


def test_the_cache_needs_neither_torch_nor_the_command_line():
    loaded = loaded_after("import marr_pipeline.cache")
    assert not loaded & {"torch", "click", "scipy", "matplotlib"}


def test_phase_two_does_not_load_phase_one():
    loaded = loaded_after("import marr_pipeline.workflows.rectify")
    assert "torch" in loaded
    assert not loaded & {"torchvision", "matplotlib", "sklearn", "scipy"}
