"""One problem for each penalty of the table of derivatives: strictly complementary, ill-conditioned, never trivial."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxopt_thoth as jt
from jaxopt_thoth import penalties


N, P = 20, 8
_RNG = np.random.default_rng(3)
X = jnp.asarray(_RNG.normal(size=(N, P)) * np.logspace(0, -0.6, P))
Y = jnp.asarray(X @ np.array([2.0, -1.5, 0.0, 1.0, 0.0, 0.5, -2.0, 0.0]) + 0.3 * _RNG.normal(size=N))
GROUPS = np.array([0, 0, 1, 1, 2, 2, 3, 3])
PENALTIES = {
    "l1": penalties.L1(0.05),
    "elastic net": penalties.ElasticNet(0.05, 0.1),
    "group lasso": penalties.GroupLasso(0.08, GROUPS),
    "simplex": penalties.Simplex(1.5),
    "l1 ball": penalties.L1Ball(1.5),
    "l2 ball": penalties.L2Ball(1.2),
    "box": penalties.Box(-0.4, 0.9),
    "nonnegative": penalties.NonNegative(),
}


@pytest.fixture(scope="session")
def problems():
    model = jt.LinearModel(jt.losses.Squared(), X, Y)
    return {name: jt.Composite(model, penalty) for name, penalty in PENALTIES.items()}
