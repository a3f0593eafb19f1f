"""Learn how strongly, and how smoothly, total variation denoises: MAID on a few small images.

Run `python examples/maid_tv_weights.py [OUT.png]`; needs the `plot` extra. Denoised images minimize
`|x - y|^2 / 2 + e^t0 sum sqrt(|Dx|^2 + e^(2 t1))`, and the logarithms t0 and t1 minimize their mean squared distance
from the true images. Every outer step certainly lowers that loss: the denoised images are only as accurate as the next
step asks for, and the picture shows how this accuracy sets itself, over seven orders of magnitude. From a weight near
zero, images come out as they went in; what was learned is then tried on one that took no part.
"""

import sys

import jax
import jax.numpy as jnp
from jax import Array

import jaxopt_thoth as jt


# Certificates to eps = 1e-7 are beyond single precision.
jax.config.update("jax_enable_x64", True)
SIZE, NOISE, NUM_IMAGES, NUM_STEPS = 32, 0.1, 4, 40
START = jnp.array([-5.0, -1.5])
# Okabe and Ito's blue, vermilion and green: told apart by every common kind of color vision.
COLORS = ("#0072b2", "#d55e00", "#009e73")


def make_image(key: Array) -> Array:
    """Discs and rectangles of random places and heights on a slope."""
    y, x = jnp.meshgrid(jnp.linspace(0, 1, SIZE), jnp.linspace(0, 1, SIZE), indexing="ij")
    image = 0.3 * x
    for shape_key in jax.random.split(key, 4):
        place, size, height, kind = jax.random.split(shape_key, 4)
        (a, b), r = jax.random.uniform(place, (2,), minval=0.15, maxval=0.85), jax.random.uniform(size) * 0.15 + 0.1
        disc = (x - a) ** 2 + (y - b) ** 2 < r**2
        rectangle = (jnp.abs(x - a) < 1.3 * r) & (jnp.abs(y - b) < 0.7 * r)
        inside = jnp.where(jax.random.bernoulli(kind), disc, rectangle)
        image = jnp.where(inside, jax.random.uniform(height), image)
    return image


def smoothed_tv(x: Array, smoothing: Array) -> Array:
    down = jnp.diff(x, axis=-2, append=x[..., -1:, :])
    right = jnp.diff(x, axis=-1, append=x[..., :, -1:])
    return jnp.sum(jnp.sqrt(down**2 + right**2 + smoothing**2))


def inner(x: Array, t: Array, noisy: Array) -> Array:
    return jnp.sum((x - noisy) ** 2) / 2 + jnp.exp(t[0]) * smoothed_tv(x, jnp.exp(t[1]))


def outer(x: Array, t: Array, truth: Array) -> Array:
    return jnp.sum((x - truth) ** 2) / 2


def inner_lipschitz(t: Array) -> Array:
    # |D|^2 <= 8, and the smoothed norm has the curvature 1 / smoothing.
    return 1 + 8 * jnp.exp(t[0] - t[1])


def error_bound(t: Array) -> jt.bilevel.ErrorBound:
    """The constants of both levels: they vary with the weights, and make every step a proof."""
    weight, smoothing = jnp.exp(t)
    return jt.bilevel.ErrorBound(
        strong_convexity=1.0,
        outer_lipschitz=1.0,
        # sqrt(|u|^2 + s^2) has a third derivative of at most 0.859 / s^2, each entry of Dx one of at most sqrt(3).
        hessian_lipschitz=0.859 * 8 * 3**0.5 * weight / smoothing**2,
        cross_lipschitz=2**0.5 * 8 * weight / smoothing,
    )


@jax.jit
def learn(noisy: Array, truth: Array) -> tuple[Array, jt.bilevel.MAIDState]:
    """Every outer variable and state of a run of MAID, along the first axis."""
    solver = jt.bilevel.MAID(error_bound, convex=True, inner_lipschitz=inner_lipschitz, step_size=0.1)
    problem = jt.bilevel.Bilevel(outer, inner, outer_data=(truth,), inner_data=(noisy,))
    point = problem.check((START, noisy))

    def step(carry, _):
        carry = solver.step(problem, *carry)
        return carry, (carry[0].hyper, carry[1])

    return jax.lax.scan(step, (point, solver.init(problem, point)), length=NUM_STEPS)[1]


def denoise(noisy: Array, t: Array) -> Array:
    problem = jt.Composite(jt.FunctionTerm(inner, t, noisy))
    return jt.solve(problem, jt.ProximalGradient(tol=1e-5), noisy).params


def rms(x: Array, truth: Array) -> float:
    return float(jnp.sqrt(jnp.mean((x - truth) ** 2)))


def main(picture: str = "maid_tv_weights.png") -> None:
    *image_keys, noise_key = jax.random.split(jax.random.key(0), NUM_IMAGES + 2)
    truth = jax.vmap(make_image)(jnp.stack(image_keys))
    noisy = truth + NOISE * jax.random.normal(noise_key, truth.shape)
    # The last image takes no part.
    hypers, states = learn(noisy[:-1], truth[:-1])
    slopes = states.measure + states.bound
    for k in (0, 9, 19, NUM_STEPS - 1):
        print(
            f"outer step {k + 1:2d}: log weight {hypers[k, 0]:6.3f}, log smoothing {hypers[k, 1]:6.3f}, loss in "
            f"[{states.lower[k]:.4f}, {states.upper[k]:.4f}], |gradient| at most {slopes[k]:.2g}, "
            f"accuracy {states.eps[k]:.0e}, {states.num_inner[k]} inner gradients"
        )
    assert bool(states.certified.all()) and not bool(states.stalled.any())
    denoised = jax.jit(jax.vmap(lambda t: denoise(noisy[-1], t)))(jnp.stack([START, hypers[-1]]))
    panels = {"Noisy": noisy[-1], "Before": denoised[0], "After": denoised[1], "Truth": truth[-1]}
    errors = {name: rms(image, truth[-1]) for name, image in panels.items()}
    print(
        "root mean squared error on a further image: "
        + ", ".join(f"{name.lower()} {errors[name]:.3f}" for name in ("Noisy", "Before", "After"))
    )
    draw(panels, errors, hypers, states).savefig(picture, dpi=110)
    print(f"the picture is {picture}")


def draw(panels: dict[str, Array], errors: dict[str, float], hypers: Array, states: jt.bilevel.MAIDState):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 6.4), facecolor="white")
    grid = figure.add_gridspec(2, 1, left=0.07, right=0.985, top=0.95, bottom=0.08, hspace=0.22, height_ratios=(1.1, 1))
    top = grid[0].subgridspec(1, 4, wspace=0.06)
    for place, (name, image) in zip(top, panels.items()):
        axes = figure.add_subplot(place)
        axes.imshow(image, cmap="gray", vmin=-0.1, vmax=1.0, interpolation="nearest")
        axes.set_title(f"{name}, error {errors[name]:.3f}" if name != "Truth" else name, loc="left", fontsize=11)
        axes.axis("off")

    work = states.num_inner
    bottom = grid[1].subgridspec(1, 3, wspace=0.3)
    axes = figure.add_subplot(bottom[0])
    axes.fill_between(work, states.lower, states.upper, color=COLORS[0], alpha=0.25, linewidth=0)
    axes.plot(work, (states.lower + states.upper) / 2, ".-", color=COLORS[0], markersize=4, linewidth=1.4)
    axes.set_yscale("log")
    axes.set_yticks([3, 5, 10, 15], ["3", "5", "10", "15"])
    axes.minorticks_off()
    axes.set_title("Loss on the training images", loc="left", fontsize=11)

    axes = figure.add_subplot(bottom[1])
    gradient = states.measure + states.bound
    curves = (("accuracy eps of the images", states.eps), ("certified bound of |gradient|", gradient))
    for color, (name, values) in zip(COLORS, curves):
        axes.semilogy(work, values, ".-", color=color, markersize=4, linewidth=1.4, label=name)
    axes.set_ylim(1e-8, 1e4)
    axes.legend(fontsize=8, frameon=False, loc="upper right", borderaxespad=0.2)
    axes.set_title("What the steps ask for and prove", loc="left", fontsize=11)

    axes = figure.add_subplot(bottom[2])
    for color, name, values in zip(COLORS, ("log weight", "log smoothing"), hypers.T):
        axes.plot(work, values, ".-", color=color, markersize=4, linewidth=1.4, label=name)
    axes.legend(fontsize=8, frameon=False, loc="upper right", borderaxespad=0.2)
    axes.set_title("What is learned", loc="left", fontsize=11)
    for axes in figure.axes[4:]:
        axes.set_xscale("log")
        axes.set_xlabel("inner gradients so far")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:2])
