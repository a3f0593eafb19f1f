import equinox as eqx

from .._types import BoolScalar, IntScalar, Params, Scalar
from ._bilevel import BilevelPoint
from ._maid_inner import InnerSolution


class MAIDState(eqx.Module):
    """State of `MAID`.

    Attributes:
        eps: accuracy of the inner variable that is asked for now.
        delta: residual of the adjoint system that is asked for now.
        step_size: first step size to be tried next.
        gradient: inexact hypergradient z at the current point.
        adjoint: inexact adjoint there.
        measure: `|z|`, or the length of the projected step over the step size.
        bound: upper bound of the error of z.
        lower: lower bound of the outer objective at the exact inner solution.
        upper: its upper bound.
        inner_value: inner objective at the current point.
        inner_gradient: its gradient.
        inner_lipschitz: last estimate of the Lipschitz constant of that gradient.
        num_inner: inner gradients taken so far, failed trials included.
        num_products: steps of conjugate gradient so far, one product with the inner Hessian each.
        certified: whether `bound`, `lower` and `upper` are proved (False with a heuristic bound, and before a step).
        stalled: whether the accuracy that a further step needs is below rounding, or out of reach of the inner solver;
            further steps then change nothing.
    """

    eps: Scalar
    delta: Scalar
    step_size: Scalar
    gradient: Params
    adjoint: Params
    measure: Scalar
    bound: Scalar
    lower: Scalar
    upper: Scalar
    inner_value: Scalar
    inner_gradient: Params
    inner_lipschitz: Scalar
    num_inner: IntScalar
    num_products: IntScalar
    certified: BoolScalar
    stalled: BoolScalar


class Trial(eqx.Module):
    """The end of an outer step of one length."""

    point: BilevelPoint
    adjoint: Params
    inner: InnerSolution
    inner_value: Scalar
    accepted: BoolScalar
    step_size: Scalar
    next_size: Scalar
    lipschitz: Scalar
    count: IntScalar
    num_inner: IntScalar
    num_products: IntScalar
