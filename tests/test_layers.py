"""Data flows one way: data -> backbone -> cache -> rectify -> report -> plots, joined in cli."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OUTSIDE = {"cache", "plots", "pipeline"}

ALLOWED = {
    "cache": set(),
    "plots": set(),
    "pipeline.names": set(),
    "pipeline.errors": set(),
    "pipeline.data": {
        "pipeline.errors",
        "pipeline.groups",
        "pipeline.names",
        "pipeline.progress",
    },
    "pipeline.backbone": {
        "pipeline.data",
        "pipeline.device",
        "pipeline.distributed",
        "pipeline.errors",
        "pipeline.files",
        "pipeline.names",
        "pipeline.progress",
        "pipeline.tensor_file",
    },
    "pipeline.tensor_file": {"pipeline.errors"},
    "pipeline.distributed": {"pipeline.errors"},
    "pipeline.rectify": {
        "pipeline.distributed",
        "pipeline.errors",
        "pipeline.files",
        "pipeline.names",
        "pipeline.progress",
    },
    "pipeline.report": {"pipeline.errors", "pipeline.groups"},
    "pipeline.bench": {
        "pipeline.errors",
        "pipeline.names",
        "pipeline.progress",
        "pipeline.rectify",
    },
}
FORBIDDEN_LIBRARIES = {
    "cache": {"torch", "torchvision", "matplotlib", "click"},
    "plots": {"torch", "torchvision", "h5py", "click"},
    "pipeline.names": {"torch", "numpy"},
    "pipeline.rectify": {"torchvision", "h5py", "matplotlib", "click"},
    "pipeline.report": {"torchvision", "h5py", "matplotlib", "click"},
    "pipeline.bench": {"torchvision", "h5py", "matplotlib", "click"},
    "pipeline.data": {"click", "h5py", "matplotlib"},
    "pipeline.backbone": {"click", "h5py", "matplotlib"},
}


def sources(part):
    path = ROOT / part.replace(".", "/")
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
        if module.split(".")[0] not in OUTSIDE or module == "pipeline":
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
        "import contextlib; from pipeline.cli import cli; "
        "contextlib.suppress(SystemExit).__enter__(); "
        "cli.main(['--help'], standalone_mode=False)"
    )
    assert not loaded & {"torch", "torchvision", "matplotlib", "h5py", "numpy", "sklearn", "scipy"}


def test_phase_two_does_not_load_phase_one():
    loaded = loaded_after("import pipeline.cli.rectification, pipeline.cli.evaluate")
    assert "torch" in loaded
    assert not loaded & {"torchvision", "matplotlib", "sklearn", "scipy"}
