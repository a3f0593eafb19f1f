"""The checks that scikit-learn has for estimators, all of them for every class."""

import warnings

import pytest
from sklearn.utils.estimator_checks import check_estimator

from jaxopt_thoth import linear_model


ESTIMATORS = sorted(name for name in dir(linear_model) if isinstance(getattr(linear_model, name), type))
# The checks take the data without a penalty and with more features than samples, where the minimizer is not unique.
# Primal and dual steps then lead to another of them for repeated rows than for rows of weight two.
_NOT_UNIQUE = {
    "QuantileRegression": {
        f"check_sample_weight_equivalence_on_{kind}_data": "The minimizer is not unique, the loss has kinks."
        for kind in ("dense", "sparse")
    }
}


def run(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(getattr(linear_model, name)(), on_skip=None, expected_failed_checks=_NOT_UNIQUE.get(name, {}))


def test_regression_passes_the_checks_of_scikit_learn():
    run("Regression")


@pytest.mark.slow
@pytest.mark.parametrize("name", ESTIMATORS)
def test_all_estimators_pass_the_checks_of_scikit_learn(name):
    run(name)
