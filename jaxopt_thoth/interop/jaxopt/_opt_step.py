from typing import Any, NamedTuple


class OptStep(NamedTuple):
    """What `run` and `update` of jaxopt's solvers return.

    Attributes:
        params: the iterate, or the solution.
        state: the solver's state, with `iter_num` and `error`.

    Example:
        >>> from jaxopt_thoth.interop import jaxopt
        >>> params, state = jaxopt.OptStep(params=1.0, state=None)
    """

    params: Any
    state: Any
