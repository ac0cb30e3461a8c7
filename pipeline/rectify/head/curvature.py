"""The inverse Hessian of a whole head, applied to a gradient: what its solvers steer by.

A head has too many numbers for its Hessian to be factored. A product with a vector costs about a
pass over the rows, and conjugate gradients need few of them once `class_blocks` has told the
classes apart.
"""

from torch import Tensor

from marr_pipeline.optim.preconditioner import Preconditioner, conjugate_gradients
from marr_pipeline.rectify.head.class_blocks import ClassBlocks
from marr_pipeline.rectify.head.problem import HeadProblem

ACCURACY, MAX_PRODUCTS = 0.2, 60
"""Of the solution: relative residual, and products spent on it at most."""
MOST_NUMBERS = 2**26
"""Of a thinned problem's rows times classes or features, whichever are more, and of the blocks."""
NUMBER_BYTES = 32
"""What one of them takes, with what is made of it on the way."""


def inverse_hessian(problem: HeadProblem, few: HeadProblem, theta: Tensor) -> Preconditioner:
    """H^-1 at theta (P,), roughly; its products count as passes of the problem.

    Args:
        problem: whose Hessian it is.
        few: the same problem thinned, or itself; preconditions the products.
        theta: where.
    """
    product = problem.hessian(theta)
    few.count_pass()
    blocks = ClassBlocks(
        *few.loss.curvature(few.head(theta)),
        l2=problem.ridge.l2,
        most_numbers=_most_numbers(problem),
    )

    def precondition(gradient: Tensor) -> Tensor:
        return blocks.solve(problem.head(gradient)).flatten()

    return lambda gradient: conjugate_gradients(
        product,
        gradient,
        accuracy=ACCURACY,
        max_products=MAX_PRODUCTS,
        least_curvature=0.5 * problem.ridge.l2,
        precondition=precondition,
    )


def most_rows_per_class(problem: HeadProblem) -> int:
    """How many rows of each class a thinned problem may keep in memory, at least 1."""
    num_classes, width = problem.shape
    return max(1, _most_numbers(problem) // (num_classes * max(num_classes, width)))


def _most_numbers(problem: HeadProblem) -> int:
    memory = problem.loss.memory
    return MOST_NUMBERS if memory is None else min(MOST_NUMBERS, memory // NUMBER_BYTES)
