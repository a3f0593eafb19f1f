import numpy as np
import pytest

from jaxopt_thoth.plotting import path_figure


STRENGTHS = np.geomspace(0.01, 1.0, 15)
COEFFICIENTS = np.maximum(np.array([0.9, 0.4, 0.1]) - STRENGTHS[:, None], 0)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_there_is_one_panel_for_each_thing_given(count, tmp_path):
    curves = [STRENGTHS**2, 2 * STRENGTHS][:count]
    figure = path_figure(STRENGTHS, COEFFICIENTS, *curves)
    assert len(figure.axes) == 1 + count
    figure.savefig(tmp_path / "path.png")


def test_strength_falls_from_left_to_right_whatever_the_order_given():
    for order in (slice(None), slice(None, None, -1)):
        axes = path_figure(STRENGTHS[order], COEFFICIENTS[order]).axes[0]
        left, right = axes.get_xlim()
        assert left > right


def test_least_validation_loss_is_marked():
    figure = path_figure(STRENGTHS, COEFFICIENTS, (np.log(STRENGTHS) - np.log(STRENGTHS[4])) ** 2)
    marks = [line.get_xdata()[0] for line in figure.axes[1].lines if len(set(line.get_xdata())) == 1]
    assert marks == [STRENGTHS[4]]


def test_labels_of_equal_coefficients_do_not_cover_each_other():
    paths = np.repeat((1 - STRENGTHS)[:, None], 6, axis=1)
    axes = path_figure(STRENGTHS, paths).axes[0]
    heights = sorted(text.xy[1] for text in axes.texts)
    assert len(heights) == 6
    assert np.diff(heights).min() > 0.05 * (paths.max() - paths.min())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((STRENGTHS, COEFFICIENTS.T), "coefficients"),
        ((STRENGTHS[None], COEFFICIENTS), "strengths"),
        ((STRENGTHS - 0.5, COEFFICIENTS), "positive"),
        ((STRENGTHS, COEFFICIENTS, STRENGTHS[1:]), "shape"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        path_figure(*arguments)
