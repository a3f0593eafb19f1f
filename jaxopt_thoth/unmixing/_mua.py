import jax.numpy as jnp
from jaxtyping import ArrayLike, PRNGKeyArray

from .. import _tree
from .._validate import require_nonnegative
from ..penalties import NonNegative, Tilted
from ..smooth import Quadratic
from ..solvers import ADMM
from ._library_fit import default_admm, fit, least_squares, unit_of
from ._library_input import from_abundances, read_library
from ._scene import Scene
from ._superpixels import grid_size, superpixel_means, superpixels
from ._unmixing import Unmixing


def mua(
    pixels: ArrayLike | Scene,
    library: ArrayLike,
    strength: ArrayLike = 0.05,
    coarse_strength: ArrayLike = 0.007,
    coupling: ArrayLike = 10.0,
    *,
    num_endmembers: int | None = None,
    key: PRNGKeyArray | None = None,
    image_shape: tuple[int, int] | None = None,
    side: int = 5,
    compactness: ArrayLike = 0.005,
    mask: ArrayLike | None = None,
    solver: ADMM | None = None,
) -> Unmixing:
    """Multiscale sparse unmixing: `sunsal` on the means of superpixels, and then on pixels drawn towards these.

    The second problem is `min |Y - D X|^2 / 2 + coupling |X - X_c|^2 / 2 + strength |X|_1` over `X >= 0`, X_c the
    abundances of the superpixel of each pixel. Means of superpixels have less noise, so that the first strength is far
    below the second. Differentiable in the strengths and the coupling (the superpixels have no derivative).

    Args:
        pixels: matrix (L, N), cube (H, W, L), or `Scene`.
        library: (L, M) spectra of the unit and the dtype of the pixels.
        strength: of the l1 norm for pixels, a nonnegative scalar.
        coarse_strength: of the l1 norm for superpixels, a nonnegative scalar.
        coupling: strength of the pull towards the superpixels, a nonnegative scalar.
        num_endmembers: how many atoms, those of the largest total abundance, are handed back as `endmembers` with
            their `abundances`; all by default; static.
        key: not used; library methods are called alike.
        image_shape: (H, W) of a matrix of pixels, row-major; known for a cube or a scene.
        side: about the side of a superpixel, in pixels; static.
        compactness: weight of the positions in `superpixels`.
        mask: (N,) or (H, W), true for the pixels to use; pixels that are not finite are left out anyway.
        solver: the method of both problems; by default ADMM to a tolerance of 3e-5 or 300 steps in
            float32, 1e-6 or 1000 steps in float64.

    Returns:
        `Unmixing` with `library_abundances` (M, N), zeros exact, the `indices` of the endmembers, and in `diagnostics`
        the `superpixels` (N,); maps are (.., H, W) for a cube, and NaN where masked.

    Raises:
        ValueError: for a library of other bands or dtype, settings out of range, or a missing image shape.

    Source: R. Borsoi, T. Imbiriba, J. Bermudez, C. Richard, "A fast multiscale spatial regularization for sparse
    hyperspectral unmixing", 2019.

    Example:
        >>> import jax.numpy as jnp
        >>> cube = jnp.zeros((6, 6, 2)).at[:, :3, 0].set(1.0).at[:, 3:, 1].set(1.0)
        >>> found = mua(cube, jnp.eye(2), 0.0, 0.0, 1.0, side=3)
        >>> print(found.library_abundances[0, 2].round(2).tolist())
        [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    """
    task = read_library(pixels, library, num_endmembers, mask, image_shape, spatial=True)
    for name, value in (("strength", strength), ("coarse_strength", coarse_strength), ("coupling", coupling)):
        require_nonnegative(value, name)
    image = task.image
    assert image is not None
    labels = superpixels(task.pixels, side, image_shape=image, compactness=compactness, mask=task.mask)
    rows, columns = grid_size(image, side)
    means = superpixel_means(task.pixels, labels, task.mask, rows * columns)
    method = default_admm(task) if solver is None else solver
    unit, dtype = unit_of(task), task.pixels.dtype
    fine, coarse, pull = (_tree.setting(value).astype(dtype) / unit for value in (strength, coarse_strength, coupling))

    smooth = least_squares(task)
    gram = smooth.matrix.columns(jnp.arange(task.library.shape[1]))
    cross = jnp.matmul(task.library.T, means, precision="highest") / unit
    shared = fit(Quadratic(gram, -cross), Tilted(NonNegative(), coarse), method)[0]
    drawn = shared[:, labels]
    coupled = Quadratic(gram + pull * jnp.eye(gram.shape[0], dtype=dtype), smooth.vector - pull * drawn)
    abundances, result = fit(coupled, Tilted(NonNegative(), fine), method)
    return from_abundances(task, abundances, num_endmembers, result, {"superpixels": labels})
