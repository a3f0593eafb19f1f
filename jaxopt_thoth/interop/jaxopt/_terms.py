"""A call of jaxopt's, `fun(params, *args, **kwargs)` and `prox(x, hyperparams, scaling)`, as terms of a problem."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import ArrayLike

from ..._types import Params, Scalar
from ...penalties import AbstractPenalty
from ...smooth import FunctionTerm


class ValueAndGradTerm(FunctionTerm):
    """A smooth term whose function returns the value and the gradient."""

    def value(self, params: Params) -> Scalar:
        return self.fn(params, *self.args)[0]

    def value_and_grad_at(self, params: Params, image: Any) -> tuple[Scalar, Params]:
        value, gradient = self.fn(params, *self.args)
        return value, gradient


class ProxPenalty(AbstractPenalty):
    """A penalty of which nothing is known but its prox, a function of a point, hyperparameters and a step."""

    function: Callable[..., Params] = eqx.field(static=True)
    hyperparams: Any

    def value(self, x: Params) -> Scalar:
        raise NotImplementedError(
            "A penalty that is known by its prox alone has no value; leave out history=True and stops on values."
        )

    def prox(self, x: Params, step: ArrayLike) -> Params:
        return self.function(x, self.hyperparams, step)


def smooth_term(fun: Callable, args: tuple, kwargs: dict, *, has_aux: bool, value_and_grad: bool) -> FunctionTerm:
    """`fun` as a term whose leaves are those of `args` and `kwargs`."""

    def without_aux(params: Params, args: tuple, kwargs: dict) -> Any:
        out = fun(params, *args, **kwargs)
        if not has_aux:
            return out
        return (out[0][0], out[1]) if value_and_grad else out[0]

    term: type[FunctionTerm] = ValueAndGradTerm if value_and_grad else FunctionTerm
    return term(without_aux, args, kwargs)


def aux_of(fun: Callable, params: Params, args: tuple, kwargs: dict, *, has_aux: bool, value_and_grad: bool) -> Any:
    """What `fun` returns beside its value, None if nothing."""
    if not has_aux:
        return None
    out = fun(params, *args, **kwargs)
    return out[0][1] if value_and_grad else out[1]
