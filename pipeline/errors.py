"""What the two phases raise. The command line turns each into one line and an exit code.

Wording everywhere: `<where>: <expected>, got <actual>; <what to do>`.
"""


class PipelineError(Exception):
    """Base of every error that a user's input, files or settings can cause."""


class ConfigError(PipelineError, ValueError):
    """A setting is out of range or contradicts another one."""


class DataError(PipelineError, ValueError):
    """Images, labels, logits or a file that exist but cannot be used."""


class FitError(PipelineError):
    """A fit ran into numbers it cannot go on from."""


class TrainingError(PipelineError):
    """Phase one stopped: the loss is no longer finite."""


class LeakError(PipelineError):
    """A choice would have been made on the test split."""


class PluginError(PipelineError):
    """Code of a user's own raised, or gave what nothing can be made of."""


def first_line(error: BaseException) -> str:
    """What an error of a library says, on one line; its kind if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def described(error: BaseException) -> str:
    """Kind and first line of an error of a library; the kind alone if it says nothing."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"
