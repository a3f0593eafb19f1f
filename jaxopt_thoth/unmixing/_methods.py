"""The table of all methods that have a name: add one here, and `unmix` and the command line know it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, NamedTuple

from ._archetypal_analysis import archetypal_analysis
from ._atgp import atgp
from ._auto_unmix import auto_unmix
from ._blind_bundles import blind_bundles
from ._bundle_unmix import bundle_unmix
from ._clsunsal import clsunsal
from ._edaa import edaa
from ._elmm import elmm
from ._fan import Fan
from ._fasun import fasun
from ._fclsu import fclsu
from ._generalized_bilinear import GeneralizedBilinear
from ._hapke import Hapke
from ._mesma import mesma
from ._ml_simplex import ml_simplex
from ._mua import mua
from ._multilinear import Multilinear
from ._mvc_nmf import mvc_nmf
from ._mvsa import mvsa
from ._n_findr import nfindr
from ._ncls import ncls
from ._nmf import nmf
from ._nmf_qmv import nmf_qmv
from ._plmm import plmm
from ._ppi import ppi
from ._ppnm import PolynomialPostNonlinear
from ._robust_archetypal_analysis import robust_archetypal_analysis
from ._s2wsu import s2wsu
from ._scls import scls
from ._sclsu import sclsu
from ._sisal import sisal
from ._sivm import sivm
from ._spa import spa
from ._sunaa import sunaa
from ._sunaa_tv import sunaa_tv
from ._suns import suns
from ._sunsal import sunsal
from ._sunsal_tv import sunsal_tv
from ._ucls import ucls
from ._vca import vca
from .networks import admmnet, cnnaeu, misicnet, msnet, pgmsu, suncnn, undip


Kind = Literal["blind", "library", "classes", "extraction", "linear", "variability", "nonlinear"]


class Method(NamedTuple):
    """A method: what it does, in one line, its kind, which says how it is called, and whether it runs as an ensemble.

    Attributes:
        function: of kind "blind" called as `function(scene, p, key=, normalization=, ...)`, of kind "library" as
            `function(pixels, library, num_endmembers=, key=, mask=, ...)`, of kind "classes" as
            `function(pixels, library, classes, mask=, ...)`, of kind "variability" as
            `function(pixels, endmembers, mask=, ...)`; all give an `Unmixing`. Of kind "extraction"
            `function(pixels, p, mask=, ...)` gives endmembers with their pixels, or a `SimplexFit`; of kind "linear"
            `function(pixels, endmembers, ...)` gives abundances; of kind "nonlinear" `function(...)` gives a model
            with the method `unmix`. Its other keywords with a default are the settings of the method.
        kind: see `function`.
        summary: what it does.
        is_drawn: whether several runs differ and the best is kept.
        fit: of a nonlinear model, its `unmix`, whose settings count too.
    """

    function: Callable[..., Any]
    kind: Kind
    summary: str
    is_drawn: bool = False
    fit: Callable[..., Any] | None = None


METHODS: dict[str, Method] = {
    "auto": Method(auto_unmix, "blind", "archetypes or a simplex, as the pixels ask for", is_drawn=True),
    "edaa": Method(edaa, "blind", "archetypes by entropic descent", is_drawn=True),
    "aa": Method(archetypal_analysis, "blind", "archetypal analysis, of squared distances"),
    "robust-aa": Method(robust_archetypal_analysis, "blind", "archetypal analysis, of distances"),
    "nmf": Method(nmf, "blind", "nonnegative factors"),
    "mvc-nmf": Method(mvc_nmf, "blind", "nonnegative factors of small volume"),
    "nmf-qmv": Method(nmf_qmv, "blind", "nonnegative factors of small volume, weight from the data"),
    "auto-bundles": Method(blind_bundles, "blind", "several spectra of each material, from the image itself"),
    "undip": Method(undip, "blind", "network: an image prior for the maps of picked pixels"),
    "misicnet": Method(misicnet, "blind", "network: an image prior for the maps, small volume"),
    "cnnaeu": Method(cnnaeu, "blind", "network: convolutional autoencoder of angles"),
    "pgmsu": Method(pgmsu, "blind", "network: spectra of each pixel drawn by a generator"),
    "admmnet": Method(admmnet, "blind", "network: unrolled steps of ADMM"),
    "msnet": Method(msnet, "blind", "network: a pyramid of scales, in two stages"),
    "vca": Method(vca, "extraction", "pure pixels by random directions", is_drawn=True),
    "nfindr": Method(nfindr, "extraction", "pure pixels of the largest simplex", is_drawn=True),
    "ppi": Method(partial(ppi, num_skewers=1000), "extraction", "pure pixels by counts of extremes", is_drawn=True),
    "sivm": Method(sivm, "extraction", "pure pixels far from each other"),
    "atgp": Method(atgp, "extraction", "pure pixels by orthogonal projection"),
    "spa": Method(spa, "extraction", "pure pixels by successive projection"),
    "sisal": Method(sisal, "extraction", "simplex of least volume, soft faces"),
    "mvsa": Method(mvsa, "extraction", "simplex of least volume, hard faces"),
    "ml-simplex": Method(ml_simplex, "extraction", "simplex of maximum likelihood"),
    "fclsu": Method(fclsu, "linear", "least squares, nonnegative and summing to one"),
    "ncls": Method(ncls, "linear", "least squares, nonnegative"),
    "scls": Method(scls, "linear", "least squares, summing to one"),
    "ucls": Method(ucls, "linear", "least squares"),
    "sclsu": Method(sclsu, "variability", "one brightness a pixel, exact"),
    "elmm": Method(elmm, "variability", "a brightness of each material in each pixel"),
    "plmm": Method(plmm, "variability", "spectra of each pixel near the endmembers"),
    "fan": Method(Fan, "nonlinear", "bilinear mixtures", fit=Fan.unmix),
    "gbm": Method(GeneralizedBilinear, "nonlinear", "generalized bilinear mixtures", fit=GeneralizedBilinear.unmix),
    "ppnm": Method(
        PolynomialPostNonlinear, "nonlinear", "polynomial post-nonlinear mixtures", fit=PolynomialPostNonlinear.unmix
    ),
    "mlm": Method(Multilinear, "nonlinear", "multilinear mixtures", fit=Multilinear.unmix),
    "hapke": Method(Hapke, "nonlinear", "intimate mixtures", fit=Hapke.unmix),
    "sunsal": Method(sunsal, "library", "sparse, l1 norm"),
    "clsunsal": Method(clsunsal, "library", "sparse by atoms, group norm"),
    "sunsal-tv": Method(sunsal_tv, "library", "sparse and piecewise smooth"),
    "s2wsu": Method(s2wsu, "library", "sparse with spectral and spatial weights"),
    "mua": Method(mua, "library", "sparse, multiscale by superpixels"),
    "sunaa": Method(sunaa, "library", "convex mixtures of atoms, exact steps"),
    "sunaa-tv": Method(sunaa_tv, "library", "convex mixtures of atoms, piecewise smooth"),
    "fasun": Method(fasun, "library", "convex mixtures of atoms, by splitting"),
    "suns": Method(suns, "library", "sparse mixtures of atoms, by splitting"),
    "suncnn": Method(suncnn, "library", "network: an image prior for the maps of all atoms"),
    "mesma": Method(mesma, "classes", "the best few spectra of each pixel, one a class"),
    "bundle": Method(bundle_unmix, "classes", "sums over the spectra of each class"),
}


# Kinds that fit endmembers, given or extracted.
FITS: tuple[Kind, ...] = ("linear", "variability", "nonlinear")


class Plan(NamedTuple):
    """What a name stands for: perhaps an extraction, then a method that is no extraction."""

    extraction: Method | None
    main: Method

    @property
    def is_drawn(self) -> bool:
        """Whether it may run several times and choose."""
        return (self.extraction or self.main).is_drawn

    @property
    def finds_endmembers(self) -> bool:
        """Whether the endmembers come from the pixels, not from spectra that are given."""
        return self.extraction is not None or self.main.kind == "blind"

    @property
    def needs_endmembers(self) -> bool:
        """Whether it fits endmembers that have to be given."""
        return self.extraction is None and self.main.kind in FITS

    @property
    def uses_library(self) -> bool:
        """Whether it works with a library."""
        return self.main.kind in ("library", "classes")


def names_of(*kinds: Kind) -> Iterator[str]:
    """Names in the table of these kinds."""
    return (name for name, method in METHODS.items() if method.kind in kinds)


def find_method(name: str) -> Plan:
    """What a name as "edaa", "sunsal", "fclsu" or "vca+fclsu" stands for.

    Raises:
        ValueError: for a name that stands for nothing; it lists those that do.
    """
    first, plus, second = name.partition("+")
    if not plus and first in METHODS and METHODS[first].kind != "extraction":
        return Plan(None, METHODS[first])
    fits = (*names_of(*FITS),)
    extractions = (*names_of("extraction"),)
    if plus and first in extractions and second in fits:
        return Plan(METHODS[first], METHODS[second])
    raise ValueError(
        f"method must be one of {', '.join(names_of('blind', 'library', 'classes'))}; or one of {', '.join(fits)}, "
        f"alone for endmembers that are given, or after one of {', '.join(extractions)}, as in vca+fclsu; "
        f"got {name!r}."
    )
