"""Every public name has an example, and every example runs."""

import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import jaxopt_thoth as jt
from jaxopt_thoth.unmixing import metrics, networks, uncertainty


# What a solver or a solve hands back is seen in the examples of what makes it.
_HANDED_BACK = (
    "History",
    "Solution",
    "Fit",
    "Path",
    "CrossValidation",
    "RESULTS",
    "ProximalGradientState",
    "ADMMState",
    "ChambollePockState",
    "SplittingState",
    "BlockCoordinateDescentState",
    "FrankWolfeState",
    "CatalystState",
    "QNingState",
    "AcceleratedBregmanState",
    "AcceleratedChambollePockState",
    "DualAveragingState",
    "ExponentiatedGradientState",
    "MirrorDescentState",
    "StepInfo",
    "AndersonAccelerationState",
    "LBFGSBState",
    "GaussNewtonState",
    "LevenbergMarquardtState",
    "ProximalNewtonState",
    "SemismoothNewtonState",
    "QuadraticPoint",
    "OSQPState",
    "MirrorProxState",
    "OptimisticMirrorDescentState",
    "MatrixGameSolution",
    "PlugAndPlayState",
    "StochasticMirrorDescentState",
    "SVRGState",
    "AcceleratedSVRGState",
    "SAGAState",
    "MISOState",
    "WorkingSetDescentState",
    "RelativeVariance",
    "Step",
    "FunctionalAdjoint",
    "FunctionalBilevelRecord",
    "FunctionalBilevelState",
    "FunctionalHypergradient",
    "FunctionalSystem",
    "InstrumentalRegression",
    "TwoStageLeastSquares",
    "DistributionBilevelRecord",
    "DistributionBilevelState",
    "SelfTuningRecord",
    "TiledUnmixing",
    "SelfTuningState",
    "MAIDState",
    "Hypergradient",
    "Diagnostics",
    "BilevelPoint",
    "AIDState",
    "ITDState",
    "HOAGState",
    "SABAState",
    "F2SAState",
    "StochasticBilevelState",
    "CanaryAudit",
    "EMAState",
    "DCTLowRankState",
    "NoiseAdaptiveState",
    "QuantileClipState",
    "NoiseState",
    "CorrelatedNoiseState",
    "PrivateState",
    "RelativeGaussianState",
    "ClippedSum",
    "EngineCosts",
    "PerExample",
    "SignalSubspace",
    "SimplexFit",
    "PixelSpectra",
    "Restoration",
    "SensorEstimate",
    "Training",
)
_ROOMS = [
    importlib.import_module(f"jaxopt_thoth.{room.name}")
    for room in pkgutil.iter_modules(jt.__path__)
    if not room.name.startswith("_") and room.name != "cli"
]


def _public() -> dict[str, tuple[object, ModuleType]]:
    found: dict[str, tuple[object, ModuleType]] = {}
    for room in (*_ROOMS, metrics, networks, uncertainty):
        for name, value in vars(room).items():
            module = inspect.getmodule(value)
            if name.startswith("_") or not callable(value) or module is None:
                continue
            if module.__name__.startswith("jaxopt_thoth."):
                found[f"{room.__name__.removeprefix('jaxopt_thoth.')}.{name}"] = (value, module)
    return found


_PUBLIC = _public()


@pytest.mark.parametrize("name", _PUBLIC)
def test_examples_run(name: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    value, module = _PUBLIC[name]
    monkeypatch.chdir(tmp_path)
    short = name.rpartition(".")[2]
    examples = doctest.DocTestFinder(recurse=False).find(value, short, module=module, globs=dict(vars(module)))
    count = sum(len(example.examples) for example in examples)
    assert count > 0 or short in _HANDED_BACK or short.startswith("Abstract"), f"{name} has no example"
    runner = doctest.DocTestRunner(verbose=False)
    for example in examples:
        assert runner.run(example).failed == 0
