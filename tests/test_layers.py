"""Data flows one way: data -> backbone -> cache -> rectify -> report -> plots, joined in cli."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOT_NAMES = {"marr_pipeline", "marr_pipeline.__version__"}
FOLDERS = {"marr_pipeline.cache": "cache", "marr_pipeline.plots": "plots"}

FOUNDATIONS = {
    "marr_pipeline.names",
    "marr_pipeline.protocols",
    "marr_pipeline.errors",
    "marr_pipeline.groups",
    "marr_pipeline.progress",
    "marr_pipeline.files",
    "marr_pipeline.device",
    "marr_pipeline.distributed",
    "marr_pipeline.tensor_file",
}
ALLOWED = {
    "marr_pipeline.cache": set(),
    "marr_pipeline.plots": set(),
    "marr_pipeline.names": set(),
    "marr_pipeline.protocols": {"marr_pipeline.names"},
    "marr_pipeline.errors": set(),
    "marr_pipeline.data": FOUNDATIONS,
    "marr_pipeline.backbone": FOUNDATIONS | {"marr_pipeline.data"},
    "marr_pipeline.optim": FOUNDATIONS | {"marr_pipeline.rectify"},
    "marr_pipeline.rectify": FOUNDATIONS | {"marr_pipeline.optim"},
    "marr_pipeline.report": FOUNDATIONS,
    "marr_pipeline.workflows": FOUNDATIONS
    | {
        "marr_pipeline.cache",
        "marr_pipeline.plots",
        "marr_pipeline.data",
        "marr_pipeline.backbone",
        "marr_pipeline.optim",
        "marr_pipeline.rectify",
        "marr_pipeline.report",
    },
}
FORBIDDEN_LIBRARIES = {
    "marr_pipeline.cache": {"torch", "torchvision", "matplotlib", "click"},
    "marr_pipeline.plots": {"torch", "torchvision", "h5py", "click"},
    "marr_pipeline.names": {"torch", "numpy"},
    "marr_pipeline.protocols": {"torch", "numpy"},
    "marr_pipeline.optim": {"torchvision", "h5py", "matplotlib", "click"},
    "marr_pipeline.rectify": {"torchvision", "h5py", "matplotlib", "click"},
    "marr_pipeline.report": {"torchvision", "h5py", "matplotlib", "click"},
    "marr_pipeline.data": {"click", "h5py", "matplotlib"},
    "marr_pipeline.backbone": {"click", "h5py", "matplotlib"},
    "marr_pipeline.workflows": {"click"},
}


def sources(part):
    path = ROOT / FOLDERS.get(part, part.replace("marr_pipeline", "pipeline").replace(".", "/"))
    found = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    assert found
    return found


def imported_modules(part):
    for source in sources(part):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{source}: a relative import"
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def lies_in(module, part):
    return module == part or module.startswith(part + ".")


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_follow_the_flow_of_data(part):
    for module in imported_modules(part):
        if module.split(".")[0] != "marr_pipeline" or module in ROOT_NAMES:
            continue
        allowed = {part, *ALLOWED[part]}
        assert any(lies_in(module, other) or lies_in(other, module) for other in allowed), module


@pytest.mark.parametrize("part", FORBIDDEN_LIBRARIES)
def test_libraries_stay_in_their_part(part):
    libraries = {module.split(".")[0] for module in imported_modules(part)}
    assert not libraries & FORBIDDEN_LIBRARIES[part]


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


def test_phase_two_does_not_load_phase_one():
    loaded = loaded_after("import marr_pipeline.workflows.rectify")
    assert "torch" in loaded
    assert not loaded & {"torchvision", "matplotlib", "sklearn", "scipy"}
