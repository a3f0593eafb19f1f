from jaxtyping import ArrayLike, PRNGKeyArray

from ._fasun_steps import unmix_by_splitting
from ._library_input import read_library
from ._scene import Scene
from ._unmixing import Unmixing


def suns(
    pixels: ArrayLike | Scene,
    library: ArrayLike,
    strength: ArrayLike = 1e-2,
    *,
    num_endmembers: int,
    key: PRNGKeyArray,
    abundance_weight: ArrayLike = 50.0,
    weight_weight: ArrayLike = 2.0,
    endmember_weight: ArrayLike = 1.0,
    inner_steps: int = 5,
    max_steps: int = 10_000,
    tol: ArrayLike = 1e-4,
    mask: ArrayLike | None = None,
) -> Unmixing:
    """Sparse unmixing by sparse endmembers, `min |Y - D B A|^2 / 2 + strength |B|_1`, `0 <= B <= 1`, A in simplices.

    `fasun` with weights B that need not sum to one: an endmember may be darker than every mixture of the library, which
    forgives differences of illumination. By the same splitting, at the same cost.
    The start breaks a tie: the published one has all endmembers alike, which the iteration keeps for ever in exact
    arithmetic, so that its results hang on rounding. Here B starts at random mixtures of the library drawn by `key`:
    the same key gives the same result, alone or in a batch of keys.

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        library: (L, M) spectra of the unit and the dtype of the pixels.
        strength: of the l1 norm of B, a nonnegative scalar.
        num_endmembers: p; static.
        key: random key of the start.
        abundance_weight: weight of the constraint on the copy of A, in squared units of the pixels.
        weight_weight: weight of the constraint on the copy of B, likewise.
        endmember_weight: weight of the constraint on the copy of D B, about 1.
        inner_steps: steps in A, and then in B, a round.
        max_steps: bound on the number of rounds.
        tol: the end, when fractions and endmembers move in 25 rounds by less than this, relative to their norms.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.

    Returns:
        `Unmixing` with `weights` B (M, p), `library_abundances` B A, and in `diagnostics` the `num_steps`.
        Columns of A are in the simplex exactly.

    Raises:
        ValueError: for a library of other bands or dtype, or settings out of range.

    Source: B. Rasti, A. Zouaoui, J. Mairal, J. Chanussot, "Fast semisupervised unmixing using nonconvex optimization",
    2024. Its fit has weight 1 in each step; in the published code a product has another weight unless
    `endmember_weight` is 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> pixels = jnp.array([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.0]])
        >>> found = suns(pixels, jnp.eye(3), num_endmembers=2, key=jax.random.key(0), abundance_weight=1.0)
        >>> sorted(found.indices.tolist())
        [0, 1]
    """
    return unmix_by_splitting(
        read_library(pixels, library, num_endmembers, mask),
        key,
        abundance_weight=abundance_weight,
        weight_weight=weight_weight,
        endmember_weight=endmember_weight,
        strength=strength,
        tol=tol,
        num_endmembers=num_endmembers,
        inner_steps=inner_steps,
        max_steps=max_steps,
        convex_weights=False,
    )
