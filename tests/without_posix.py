"""A Linux process made to look as Windows does to this program; then its commands, one a line.

What is heavy is loaded first, so that what is taken away is missed by our code alone. An open or
mapped file is neither renamed nor replaced nor removed, and a folder is not opened.
"""

import builtins
import ctypes
import errno
import importlib
import io
import mmap
import multiprocessing
import os
import shlex
import signal
import sys
import tempfile

for name in (
    "torch",
    "torchvision",
    "h5py",
    "matplotlib.pyplot",
    "sklearn.datasets",
    "scipy.sparse",
):
    importlib.import_module(name)
importlib.import_module("torch.distributed")
importlib.import_module("scipy.optimize")

ABSENT = {
    os: "chown fchmod fchown fork forkpty geteuid getpgid getppid getuid killpg mkfifo nice pread "
    "pwrite register_at_fork sched_getaffinity setsid sysconf uname O_CLOEXEC O_DIRECTORY "
    "O_DSYNC O_NOFOLLOW O_NONBLOCK O_SYNC",
    signal: "SIGALRM SIGCHLD SIGHUP SIGKILL SIGPIPE SIGQUIT SIGUSR1 SIGUSR2 pthread_sigmask "
    "setitimer sigwait",
    mmap: "MAP_ANON MAP_ANONYMOUS MAP_PRIVATE MAP_SHARED PROT_READ PROT_WRITE MADV_WILLNEED",
}
SYSTEM = ("/proc", "/sys", "/dev")


def is_open(path):
    """Whether this process has the file open or mapped."""
    path = os.path.realpath(path)
    for descriptor in listdir("/proc/self/fd"):
        try:
            if readlink(f"/proc/self/fd/{descriptor}") == path:
                return True
        except OSError:
            continue  # the list's own
    with plain_open("/proc/self/maps", encoding="utf-8") as maps:
        return any(line.rstrip("\n").endswith(f" {path}") for line in maps)


def refusing_open_files(call):
    def changed(*paths, **options):
        for path in paths:
            if isinstance(path, str | os.PathLike) and is_open(path):
                raise PermissionError(errno.EACCES, "the file is in use", os.fspath(path))
        return call(*paths, **options)

    return changed


def as_elsewhere(call):
    """No folder is opened, and there are no files of Linux's."""

    def opened(path, *arguments, **options):
        if isinstance(path, str | os.PathLike):
            # With an opener of its own, as tempfile has, the path is a word alone.
            if os.path.isdir(path) and "opener" not in options:  # noqa: PTH112
                raise PermissionError(errno.EACCES, "it is a folder", os.fspath(path))
            if os.fspath(path).startswith(SYSTEM) and os.fspath(path) != os.devnull:
                raise FileNotFoundError(errno.ENOENT, "no such file", os.fspath(path))
        return call(path, *arguments, **options)

    return opened


def only_named(library):
    def load(name, *arguments, **options):
        if name is None:
            raise TypeError("argument of type 'NoneType' is not iterable")
        return library(name, *arguments, **options)

    return load


plain_open, listdir, readlink = io.open, os.listdir, os.readlink
multiprocessing.get_all_start_methods = lambda: ["spawn"]
tempfile.TemporaryFile = tempfile.NamedTemporaryFile  # as it is there
for module, names in ABSENT.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None
for name in [name for name in sys.modules if name.split(".")[0] == "filelock"]:
    del sys.modules[name]
for name in ("replace", "rename", "remove", "unlink"):
    setattr(os, name, refusing_open_files(getattr(os, name)))
os.open = as_elsewhere(os.open)
builtins.open = io.open = as_elsewhere(io.open)
ctypes.CDLL = only_named(ctypes.CDLL)

from marr_pipeline.cli import main  # noqa: E402

for line in sys.stdin.read().splitlines():
    try:
        main(shlex.split(line))
    except SystemExit as stop:
        print(f"exit code {stop.code}: {line}", flush=True)
