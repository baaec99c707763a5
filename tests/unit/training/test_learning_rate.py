from collections.abc import Callable

from pipeline.study.config import RunConfig
from pipeline.training.learning_rate import learning_rate


def test_the_first_step_has_a_learning_rate_and_the_last_is_followed_by_none(
    make_config: Callable[..., RunConfig],
) -> None:
    rate = learning_rate(make_config().training)
    assert 0 < rate(0) < rate(1) < rate(2) == 2e-3
    assert rate(12) == 0
