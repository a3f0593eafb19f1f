from typing import Any

import lineax as lx
from jaxtyping import Array, PyTree


class AbstractOperatorSolver(lx.AbstractLinearSolver[lx.AbstractLinearOperator]):
    """A lineax solver that needs nothing of its operator but products: the operator itself is its state."""

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> lx.AbstractLinearOperator:
        if operator.in_structure() != operator.out_structure():
            raise ValueError(f"{type(self).__name__} needs a square operator; lineax.AutoLinearSolver takes others.")
        return lx.linearise(operator)

    def compute(
        self, state: lx.AbstractLinearOperator, vector: PyTree[Array], options: dict[str, Any]
    ) -> tuple[PyTree[Array], lx.RESULTS, dict[str, Any]]:
        return self.approximate(state, vector), lx.RESULTS.successful, {}

    def approximate(self, operator: lx.AbstractLinearOperator, vector: PyTree[Array]) -> PyTree[Array]:
        """An approximate solution of `operator x = vector`."""
        raise NotImplementedError

    def transpose(
        self, state: lx.AbstractLinearOperator, options: dict[str, Any]
    ) -> tuple[lx.AbstractLinearOperator, dict[str, Any]]:
        return state.transpose(), options

    def conj(
        self, state: lx.AbstractLinearOperator, options: dict[str, Any]
    ) -> tuple[lx.AbstractLinearOperator, dict[str, Any]]:
        return lx.conj(state), options

    def assume_full_rank(self) -> bool:
        return True
