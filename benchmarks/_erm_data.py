"""The data and the problems of `erm.py`: bundled, generated, and from files where they are found."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from _record import data_file


@dataclass(frozen=True)
class Data:
    """A design, dense or CSR, with rows of norm one where they are classified, and its targets."""

    design: Any
    targets: np.ndarray

    @property
    def num_rows(self) -> int:
        return self.design.shape[0]

    @property
    def labels(self) -> np.ndarray:
        """The targets as classes -1 and 1: for more than two, the lower half against the upper one."""
        return np.where(self.targets > np.median(np.unique(self.targets)), 1.0, -1.0)


@dataclass(frozen=True)
class Task:
    """What is solved: strengths are those of the penalty, for a ridge over n, else as parts of the critical one."""

    data: str
    loss: str
    penalty: str
    level: float
    intercept: bool = False

    @property
    def name(self) -> str:
        level = f"{self.level:g}/n" if self.penalty == "l2" else f"{self.level:g} critical"
        return f"{self.data}: {self.loss}, {self.penalty} {level}" + (", intercept" if self.intercept else "")


def unit_rows(design: Any) -> Any:
    if sp.issparse(design):
        norms = np.sqrt(np.asarray(design.multiply(design).sum(1)).ravel())
        return (sp.diags(1 / np.where(norms > 0, norms, 1)) @ design).tocsr()
    norms = np.linalg.norm(design, axis=1, keepdims=True)
    return np.ascontiguousarray(design / np.where(norms > 0, norms, 1))


def standard(design: np.ndarray) -> np.ndarray:
    scale = design.std(0)
    return (design - design.mean(0)) / np.where(scale > 0, scale, 1)


def generated(num_rows: int, num_features: int, decay: float = 0.0, seed: int = 0) -> Data:
    """Gaussian columns of scales j^-decay, 50 coefficients that are not zero, noise a third of the signal."""
    rng = np.random.default_rng(seed)
    design = rng.standard_normal((num_rows, num_features))
    if decay:
        design *= np.arange(1, num_features + 1) ** -decay
    truth = np.zeros(num_features)
    count = min(50, num_features // 2)
    truth[rng.choice(num_features, count, replace=False)] = rng.standard_normal(count)
    signal = design @ truth
    return Data(design, signal + signal.std() / 3 * rng.standard_normal(num_rows))


def generated_sparse(num_rows: int, num_features: int, density: float, seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    design = sp.random(
        num_rows, num_features, density, format="csr", random_state=rng, data_rvs=lambda k: np.abs(rng.normal(size=k))
    )
    design = unit_rows(design)
    signal = design @ rng.standard_normal(num_features)
    return Data(design, signal + signal.std() / 3 * rng.standard_normal(num_rows))


def _bundled(name: str) -> Callable[[], Data]:
    def load() -> Data:
        from sklearn import datasets

        design, targets = getattr(datasets, f"load_{name}")(return_X_y=True)
        if name == "diabetes":
            return Data(standard(design), standard(targets.astype(float)))
        return Data(unit_rows(standard(design)), targets.astype(float))

    return load


def _adult() -> Data | None:
    path = data_file("erm/a9a")
    if path is None:
        return None
    from sklearn.datasets import load_svmlight_file

    design, targets = load_svmlight_file(str(path), n_features=123)
    return Data(unit_rows(sp.csr_matrix(design, dtype=np.float64)), targets)


def _magic() -> Data | None:
    path = data_file("erm/magic04.data")
    if path is None:
        return None
    lines = [line.rsplit(",", 1) for line in path.read_text().split()]
    design = np.array([line[0].split(",") for line in lines], float)
    return Data(unit_rows(standard(design)), np.array([1.0 if line[1] == "g" else -1.0 for line in lines]))


def _mnist() -> Data | None:
    images, labels = data_file("erm/t10k-images-idx3-ubyte.gz"), data_file("erm/t10k-labels-idx1-ubyte.gz")
    if images is None or labels is None:
        return None
    pixels = np.frombuffer(gzip.decompress(images.read_bytes()), np.uint8, offset=16).reshape(-1, 784)
    classes = np.frombuffer(gzip.decompress(labels.read_bytes()), np.uint8, offset=8)
    return Data(unit_rows(pixels.astype(float)), classes.astype(float))


_SOURCES: dict[str, Callable[[], Data | None]] = {
    "diabetes": _bundled("diabetes"),
    "breast_cancer": _bundled("breast_cancer"),
    "digits": _bundled("digits"),
    "100k x 100": lambda: _classified(generated(100_000, 100)),
    "100k x 100, decaying": lambda: _classified(generated(100_000, 100, 1.0)),
    "10k x 1k": lambda: _classified(generated(10_000, 1000)),
    "1k x 10k": lambda: generated(1000, 10_000),
    "sparse 50k x 50k": lambda: generated_sparse(50_000, 50_000, 1e-3),
    "a9a": _adult,
    "magic04": _magic,
    "MNIST 10k": _mnist,
}


def _classified(data: Data) -> Data:
    return Data(unit_rows(data.design), data.targets / np.std(data.targets))


@cache
def load(name: str) -> Data | None:
    """The data of a name, or None where its file is not at hand."""
    return _SOURCES[name]()
