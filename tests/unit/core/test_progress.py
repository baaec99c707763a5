from pathlib import Path

import pytest

from pipeline.core.progress import progress


class Clock:
    """A clock that advances on request."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the log; the bar has its own."""
    clock = Clock()
    monkeypatch.setattr("pipeline.core.progress.time.monotonic", clock)
    return clock


def test_the_log_gets_a_line_every_ten_seconds_and_one_at_the_end(tmp_path: Path, clock: Clock) -> None:
    log = tmp_path / "log"
    with progress(total=40, description="train run", unit="steps", log=log) as bar:
        for second in range(40):
            clock.now += 1
            bar.update(1, loss=f"{second}")
    lines = log.read_text().splitlines()
    assert len(lines) == 5
    for line, done in zip(lines, [10, 20, 30, 40, 40], strict=True):
        assert line.startswith("train run:")
        assert f"{done}/40" in line
        assert f"loss={done - 1}" in line


def test_notes_go_to_the_log_and_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    with progress(total=2, description="train run", unit="steps", log=log) as bar:
        bar.note("step 1: validation loss 0.5")
    assert log.read_text().splitlines()[0] == "step 1: validation loss 0.5"
    captured = capfd.readouterr()
    assert "step 1: validation loss 0.5" in captured.err
    assert captured.out == ""


def test_what_takes_its_time_before_any_progress_is_shown_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    with progress(total=2, description="sample", unit="molecules") as bar:
        bar.show(compiling="19 atoms")
        assert "compiling=19 atoms" in capfd.readouterr().err
        bar.update(2)
    assert "compiling" not in capfd.readouterr().err


def test_a_log_is_added_to(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("earlier\n")
    with progress(total=1, description="two", unit="files", log=log) as bar:
        bar.update(1)
    assert log.read_text().startswith("earlier\ntwo:")


def test_a_stage_that_fails_at_once_leaves_no_bar_and_a_closed_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    with pytest.raises(ZeroDivisionError), progress(total=10, description="fail", unit="steps", log=log) as bar:
        bar.resume(5)
        raise ZeroDivisionError
    assert capfd.readouterr().err == ""
    assert log.read_text().startswith("fail:  50%")
    with pytest.raises(ValueError, match="closed file"):
        bar.note("too late")


def test_what_an_earlier_session_did_is_no_part_of_the_rate(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with progress(total=1000, description="train", unit="steps", log=log) as bar:
        bar.resume(900)
        # Nothing is done yet in this session: with the 900 steps counted, the rate would be thousands a second.
        assert bar._bar.format_dict["initial"] == 900
        bar.update(50)
    line = log.read_text()
    assert "950/1000" in line
    assert " 95%" in line


def test_counts_in_thousands_and_without_a_total(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with progress(total=None, description="download", unit="B", unit_scale=True, log=log) as bar:
        bar.update(2_500_000)
    assert log.read_text().startswith("download: 2.50M B")
