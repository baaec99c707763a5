import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.diffusion.schedules import karras_levels, polynomial_schedule

STEPS = st.integers(2, 1500)
PRECISIONS = st.floats(1e-6, 0.1)


def test_schedule_of_the_published_model() -> None:
    schedule = polynomial_schedule(steps=1000, precision=1e-5)
    # alpha^2 of polynomial_2 at t / T = 0, 0.1, 0.5, 0.999, worked out by hand.
    expected = {0: 0.99999, 100: 0.980090398, 500: 0.56249875, 999: 1.39959211e-5}
    for t, value in expected.items():
        assert schedule.alpha[t] ** 2 == pytest.approx(value, rel=1e-8)
    # The noise of t = 0 that the reference checks its feature scales against, and gamma at both ends.
    assert schedule.sigma[0] == pytest.approx(0.0031623, rel=1e-4)
    assert np.log(schedule.snr[[0, -1]]) == pytest.approx([11.512915, -11.5125], abs=1e-3)
    assert schedule.steps == 1000
    assert len(schedule.alpha) == len(schedule.sigma) == len(schedule.sigma_ve) == 1001


def test_the_signal_falls_by_at_most_a_thousand_a_step() -> None:
    # Without that limit the last alpha^2 would be the precision alone, 1e-12.
    alpha2 = polynomial_schedule(steps=10, precision=1e-12).alpha ** 2
    assert alpha2[-1] == pytest.approx(1e-3 * (1 - 0.9**2) ** 2, rel=1e-3)
    assert (alpha2[1:-1] / alpha2[:-2] > 1e-3).all()


@given(STEPS, PRECISIONS)
def test_schedule_preserves_variance_and_only_adds_noise(steps: int, precision: float) -> None:
    schedule = polynomial_schedule(steps=steps, precision=precision)
    assert schedule.alpha**2 + schedule.sigma**2 == pytest.approx(1.0)
    assert (np.diff(schedule.sigma_ve) > 0).all()
    assert schedule.sigma_ve == pytest.approx(schedule.sigma / schedule.alpha)
    assert schedule.snr == pytest.approx(schedule.sigma_ve**-2.0)
    assert schedule.alpha[0] ** 2 == pytest.approx(1 - precision)


def test_karras_levels() -> None:
    levels = karras_levels(steps=3, sigma_min=0.005, sigma_max=20.0)
    middle = ((20 ** (1 / 7) + 0.005 ** (1 / 7)) / 2) ** 7
    assert levels == pytest.approx([20.0, middle, 0.005, 0.0])
    # In the range and number of steps of Karras et al.
    assert karras_levels(steps=18, sigma_min=0.002, sigma_max=80.0)[9] == pytest.approx(1.9233, rel=1e-3)
    assert karras_levels(steps=3, sigma_min=1.0, sigma_max=3.0, rho=1.0) == pytest.approx([3.0, 2.0, 1.0, 0.0])
    assert karras_levels(steps=1, sigma_min=0.1, sigma_max=5.0) == pytest.approx([5.0, 0.0])
