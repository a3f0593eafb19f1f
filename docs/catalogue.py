"""The page "Catalogue": what no docstring says in one line, and a hook that fills the page from it at build time.

A public penalty or projection without a row fails `tests/test_catalogue.py`.
"""

import inspect
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxopt_thoth import penalties, projections


class Row(NamedTuple):
    """Formula, cost and derivative; `example` makes a penalty whose scalar prox is drawn."""

    formula: str
    cost: str
    derivative: str
    example: Callable[[], penalties.AbstractPenalty] | None = None


PASS = "n"
PIECES = "diagonal, piecewise constant"
SAME = "that of its penalty"
p = penalties

PENALTIES = {
    "Zero": Row("0", "none", "identity"),
    "L1": Row("s sum |x_i|", PASS, "diagonal of 0 and 1", lambda: p.L1(1.0)),
    "L2Squared": Row("s/2 sum x_i^2", PASS, "1 / (1 + t s)", lambda: p.L2Squared(1.0)),
    "L2": Row("s |x|_2", PASS, "(1 - t s / |x|) I plus rank one, or 0"),
    "ElasticNet": Row("a sum |x_i| + b/2 sum x_i^2", PASS, PIECES, lambda: p.ElasticNet(0.7, 0.7)),
    "GroupLasso": Row("s sum_g w_g |x_g|_2", PASS, "a block for each group"),
    "SparseGroupLasso": Row("a sum |x_i| + b sum_g w_g |x_g|_2", PASS, "a block for each group, masked"),
    "NonNegative": Row("0 on {x >= 0}", PASS, "diagonal of 0 and 1", lambda: p.NonNegative()),
    "Box": Row("0 on {lower <= x <= upper}", PASS, "diagonal of 0 and 1", lambda: p.Box(-1.0, 1.5)),
    "Simplex": Row("0 on {x >= 0, sum x = r}", "n a Newton step, few", "I - 11'/k on the k positive entries"),
    "L1Ball": Row("0 on {sum |x_i| <= r}", "n a Newton step, few", "I - ss'/k on the k entries left, signs s"),
    "L2Ball": Row("0 on {|x|_2 <= r}", PASS, "scaled projector off the direction of x, or I"),
    "Huber": Row("s sum huber(x_i)", PASS, PIECES, lambda: p.Huber(1.0, 1.0)),
    "LogBarrier": Row("-s sum log x_i", PASS, "z^2 / (z^2 + t s)", lambda: p.LogBarrier(1.0)),
    "NegativeEntropy": Row("s sum x_i log x_i", "n, five steps", "z / (z + t s)", lambda: p.NegativeEntropy(1.0)),
    "KullbackLeibler": Row(
        "s sum (x_i log(x_i / r_i) - x_i + r_i)",
        "n, five steps",
        "z / (z + t s)",
        lambda: p.KullbackLeibler(1.0, 1.0),
    ),
    "ReverseKullbackLeibler": Row(
        "s sum (x_i - r_i log x_i)", PASS, "z^2 / (z^2 + t s r)", lambda: p.ReverseKullbackLeibler(1.0, 1.0)
    ),
    "Hinge": Row("s sum max(1 - x_i, 0)", PASS, "diagonal of 0 and 1", lambda: p.Hinge(1.0)),
    "Pinball": Row("s sum max(q x_i, (q - 1) x_i)", PASS, "diagonal of 0 and 1", lambda: p.Pinball(1.5, 0.75)),
    "MCP": Row("sum of s|x| - x^2 / (2 gamma), then constant", PASS, PIECES, lambda: p.MCP(1.0, 2.0)),
    "SCAD": Row("sum of s|x|, then a parabola, then constant", PASS, PIECES, lambda: p.SCAD(0.8, 2.5)),
    "LogSum": Row("s sum log(1 + |x_i| / e)", PASS, "1 / (1 - t s / (z + e)^2) or 0", lambda: p.LogSum(1.0, 0.7)),
    "L0": Row("s #{x_i != 0}", PASS, "diagonal of 0 and 1", lambda: p.L0(1.0)),
    "LHalf": Row("s sum |x_i|^(1/2)", PASS, "1 / (1 - t s / (4 z^(3/2))) or 0", lambda: p.LHalf(1.0)),
    "LTwoThirds": Row(
        "s sum |x_i|^(2/3)", "n, Newton steps", "1 / (1 - 2 t s / (9 z^(4/3))) or 0", lambda: p.LTwoThirds(1.0)
    ),
    "CappedL1": Row("s sum min(|x_i|, h)", PASS, "diagonal of 0 and 1", lambda: p.CappedL1(1.0, 1.2)),
    "LInf": Row("s max |x_i|", "n a Newton step, few", "averages over the clipped entries"),
    "Max": Row("s max x_i", "n a Newton step, few", "averages over the largest entries"),
    "SquaredL1": Row("s/2 (sum |x_i|)^2", "n a Newton step, few", "identity minus rank one on the k entries left"),
    "NuclearNorm": Row("s sum sigma_i(X)", "one SVD", "divided differences of the singular values"),
    "SpectralNorm": Row("s max sigma_i(X)", "one SVD", "divided differences of the singular values"),
    "TotalVariation1D": Row("s sum |x_(i+1) - x_i|", PASS, "averages over each constant run"),
    "FusedLasso": Row("a TV(x) + b sum |x_i| + c/2 sum x_i^2", PASS, "averages over each run left, scaled"),
    "Slope": Row("sum s_i |x|_(i), sorted", "n log n", "averages over each pool of magnitudes"),
    "Scaled": Row("a g(x)", SAME, SAME),
    "Translated": Row("g(x - a)", SAME, SAME, lambda: p.Translated(p.L1(1.0), 1.0)),
    "ExceptLast": Row("g(x_1, ..., x_{n-1})", SAME, "that of its penalty, and 1"),
    "Tilted": Row("g(x) + a'x", SAME, SAME, lambda: p.Tilted(p.NonNegative(), 1.0)),
    "Regularized": Row("g(x) + s/2 |x - c|^2", SAME, "that of its penalty at a smaller step, shrunk"),
    "Conjugate": Row("sup_x u'x - g(x)", SAME, "identity minus that of its penalty (Moreau)"),
    "Envelope": Row(
        "min_z g(z) + |z - x|^2 / (2 m)",
        SAME,
        "weighted mean of the identity and that of its penalty",
        lambda: p.Envelope(p.L0(1.0), 0.5),
    ),
    "Composed": Row(
        "g(A x), A A' = c I", "that of its penalty, products with A and A'", "I + A'(that of its penalty - I)A / c"
    ),
    "Indicator": Row("0 where project(x) = x", "that of its projection", "that of its projection"),
    "Cone": Row("0 where project(x) = x, a cone", "that of its projection", "that of its projection"),
    "GroupLInf": Row(
        "s sum_g w_g |x_g|_inf", "n a Newton step, few", "averages over the clipped entries of each group"
    ),
    "TreeGroupLasso": Row("s sum_g w_g |x_g|, nested groups", "n a level", "product of those of its groups"),
    "KSupport": Row("s/2 |x|_ksp^2", "n a Newton step, few", "diagonal plus rank one"),
    "SumLargest": Row(
        "s (x_(1) + ... + x_(k)), sorted", "n a Newton step, few", "averages over the entries in between"
    ),
    "Quadratic": Row("x'Q x / 2 + q'x", "n^2, after one eigendecomposition", "(I + t Q)^-1"),
    "LeastSquares": Row("s/2 |A x - b|^2", "m n, after one eigendecomposition", "(I + t s A'A)^-1"),
    "LogDet": Row("-s log det X", "one eigendecomposition", "divided differences of the eigenvalues"),
    "Rank": Row("s rank X", "one SVD", "divided differences of the singular values"),
    "SpectralFunction": Row(
        "g(sigma(X))", "one SVD, one prox of its penalty", "divided differences of the singular values"
    ),
    "TotalVariation2D": Row(
        "s sum |differences of a pixel|", "iterative, n a step", "implicit, by conjugate gradients"
    ),
    "SeparableSum": Row("sum_b g_b(x_b)", "that of its blocks", "a block for each penalty"),
}

PROJECTIONS = {
    "simplex": Row("{z >= 0, sum z = r}", "n a Newton step, few", "I - 11'/k on the k positive entries"),
    "capped_simplex": Row("{0 <= z <= u, sum z = r}", "n a Newton step, few", "I - 11'/k on the k free entries"),
    "sparse_simplex": Row("simplex of k nonzero entries", "top k, then n", "that of simplex on the entries kept"),
    "l1_ball": Row("{sum |z_i| <= r}", "n a Newton step, few", "I - ss'/k on the k entries left, signs s"),
    "l2_ball": Row("{|z|_2 <= r}", PASS, "scaled projector off the direction of x, or I"),
    "linf_ball": Row("{max |z_i| <= r}", PASS, "diagonal of 0 and 1"),
    "box": Row("{lower <= z <= upper}", PASS, "diagonal of 0 and 1"),
    "nonnegative": Row("{z >= 0}", PASS, "diagonal of 0 and 1"),
    "halfspace": Row("{a'z <= b}", PASS, "I - aa'/|a|^2, or I inside"),
    "hyperplane": Row("{a'z = b}", PASS, "I - aa'/|a|^2"),
    "box_hyperplane": Row("{lower <= z <= upper, a'z = b}", "n a Newton step, few", "I - aa'/|a|^2, if free"),
    "affine": Row("{A z = b}", "one SVD of A", "projector onto the kernel of A"),
    "second_order_cone": Row("{|u|_2 <= t}", PASS, "a multiple of I plus rank two, or I or 0"),
    "psd": Row("{Z = Z' >= 0}", "one eigendecomposition", "divided differences of the eigenvalues"),
    "isotonic": Row("{z_1 <= ... <= z_n}", PASS, "averages over each block"),
    "monotone_nonnegative": Row("{0 <= z_1 <= ... <= z_n}", PASS, "averages over each positive block"),
    "birkhoff": Row("{Z >= 0, Z 1 = 1, Z' 1 = 1}", "n^3 a Newton step", "projector onto no sums on the support"),
    "transport": Row(
        "{Z >= 0, Z 1 = a, Z' 1 = b}", "m n min(m, n) a Newton step", "projector onto no sums on the support"
    ),
    "birkhoff_kl": Row("{Z >= 0, Z 1 = 1, Z' 1 = 1}, of exp(x)", "n^2 a Sinkhorn step", "implicit, by the sums"),
    "transport_kl": Row("{Z >= 0, Z 1 = a, Z' 1 = b}, of exp(x)", "m n a Sinkhorn step", "implicit, by the sums"),
    "epigraph_l1": Row("{sum |z_i| <= s}", "n a Newton step, few", "projector onto the active face"),
    "epigraph_l2": Row("{|z|_2 <= s}", PASS, "a multiple of I plus rank two, or I or 0"),
    "epigraph_linf": Row("{max |z_i| <= s}", "n a Newton step, few", "projector onto the active face"),
    "exponential_cone": Row("closure of {s > 0, s exp(r/s) <= t}", "a scalar root", "1 on the ray, 0 on the residual"),
    "l1_inf_ball": Row("{sum_i max_j |z_ij| <= r}", "m n a Newton step, few", "projector onto the active face"),
    "low_rank": Row("{rank Z <= k}", "one SVD", "divided differences of the singular values"),
    "polyhedron": Row("{A z <= b, C z = d}", "m^3 a change of the active set", "projector onto the active constraints"),
    "sphere": Row("{|z|_2 = r}", PASS, "scaled projector off the direction of x"),
    "stiefel": Row("{Z'Z = I}", "one SVD", "a Sylvester equation"),
    "top_k": Row("{at most k entries not zero}", "top k", "diagonal of 0 and 1"),
}
# Public in their room, and no operator: what builds or checks one.
HELPERS = {
    "AbstractPenalty": "the base class",
    "affine_factor": "prepares affine",
    "split_quadratic": "takes a penalty apart",
    "strong_convexity": "tells of one",
    "transport_residual": "checks it",
}

_CITATION = re.compile(r"""([A-Z](?:[^".:;()]|(?<=\b[A-Z])\.)*?), "([^"]+)",? (\d{4})""")


def sources(operator: Any) -> list[str]:
    """What the docstring cites: authors, title, year."""
    text = " ".join((inspect.getdoc(operator) or "").split()).replace("et al.", "et al")
    cited = [
        f'{authors.replace("et al", "et al.")}, "{title}", {year}' for authors, title, year in _CITATION.findall(text)
    ]
    return list(dict.fromkeys(cited))


def operators(room: ModuleType) -> dict[str, Any]:
    """The public penalties or projections of a room."""
    found = {name: value for name, value in vars(room).items() if not name.startswith("_") and callable(value)}
    return {name: value for name, value in found.items() if name not in HELPERS}


def traits(operator: Any) -> str:
    """Letters of the class traits; a trait that an instance decides has none of its own."""
    letters = {"s": operator.is_separable, "c": operator.is_convex, "i": operator.is_indicator}
    return " ".join(letter for letter, holds in letters.items() if holds is True)


def picture(penalty: penalties.AbstractPenalty, reach: float = 3.0, size: int = 84) -> str:
    """The scalar prox for two steps against the identity, as one line of SVG."""
    x = np.linspace(-reach, reach, 241)

    def path(z: np.ndarray) -> str:
        pen, previous, parts = "M", z[0], []
        for a, b in zip(x, z):
            # A jump is a gap, not a steep line.
            pen = "M" if abs(b - previous) > 0.15 * reach else pen
            parts.append(f"{pen}{(a + reach) / (2 * reach) * size:.1f} {(reach - b) / (2 * reach) * size:.1f}")
            pen, previous = "L", b
        return "".join(parts)

    def line(d: str, style: str) -> str:
        return f'<path d="{d}" fill="none" stroke="currentColor" {style}/>'

    curves = [
        line(path(np.asarray(penalty.prox(jnp.asarray(x), step))), f'stroke-width="{width}"')
        for step, width in ((0.5, 0.8), (1.0, 1.8))
    ]
    axes = line(f"M0 {size / 2}H{size}M{size / 2} 0V{size}", 'stroke-width="0.4" opacity="0.5"')
    identity = line(f"M0 {size}L{size} 0", 'stroke-width="0.8" stroke-dasharray="2 3"')
    label = f"Prox of {type(penalty).__name__} for two steps against the identity"
    return (
        f'<svg role="img" aria-label="{label}" width="{size}" height="{size}" viewBox="0 0 {size} {size}">'
        f"{axes}{identity}{''.join(curves)}</svg>"
    )


def _escaped(cell: str) -> str:
    # Markdown takes a bar in code as it is, and any other for the end of the cell.
    return cell if cell.startswith("`") else cell.replace("|", "\\|")


def table(room: ModuleType, rows: dict[str, Row]) -> str:
    """One line an operator, in the order of the alphabet."""
    known = operators(room)
    of_penalties = room is penalties
    head = ["Name", "Formula", "Cost", "Derivative", "Source"] + (["Traits", "Prox"] if of_penalties else [])
    lines = [head, ["---"] * len(head)]
    for name in sorted(known.keys() & rows.keys(), key=str.lower):
        row = rows[name]
        cells = [
            f"[`{name}`][{room.__name__}.{name}]",
            f"`{row.formula}`",
            row.cost,
            row.derivative,
            "; ".join(sources(known[name])) or "by definition",
        ]
        if of_penalties:
            cells += [traits(known[name]), picture(row.example()) if row.example else ""]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The hook of MkDocs."""
    if page.file.src_uri != "catalogue.md":
        return markdown
    filled = markdown.replace("<!-- penalties -->", table(penalties, PENALTIES))
    return filled.replace("<!-- projections -->", table(projections, PROJECTIONS))
