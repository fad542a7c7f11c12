import io

import pytest
from rich.console import Console

from sskd.cli.console import duration, percent
from sskd.cli.live import Live
from sskd.cli.progress import QUIET_SECONDS, Display, Lines, StudyState, open_display


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Kept(Display):
    """Keeps what would be shown."""

    def __init__(self, state: StudyState, clock: Clock) -> None:
        super().__init__(state, clock=clock)
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def refresh(self) -> None:
        pass


STAGES = ["pretraining", "evaluate_pretraining", "transfer", "transfer", "evaluate_transfer"]


def test_the_first_ap_is_a_line_as_soon_as_it_is_known():
    clock = Clock()
    display = Kept(StudyState(2, STAGES), clock)
    display("pretraining", 1, 100)
    clock.now = 20.0
    display("pretraining", 100, 100, loss=2.5)
    display("finished pretraining", 1, 1, reused=0.0)
    clock.now = 23.0
    display("evaluation", 5, 10)
    display("finished evaluate_pretraining", 1, 1, reused=0.0, mask_ap=0.158, mask_ap50=0.31)
    assert display.lines == [
        "pretraining, loss 2.5 (20 s)",
        "evaluate_pretraining, AP 15.8, AP50 31.0 (3 s)",
    ]


def test_a_reused_stage_is_a_line_once_and_only_with_an_ap():
    display = Kept(StudyState(2, []), Clock())
    for _ in range(3):
        display("finished pretraining", 1, 1, reused=1.0)
        display("finished evaluate_pretraining", 1, 1, reused=1.0, mask_ap=0.158)
    assert display.lines == ["evaluate_pretraining, AP 15.8 (from the store)"]


def test_the_time_left_is_the_mean_cost_of_what_is_left():
    clock = Clock()
    state = StudyState(2, STAGES)
    display = Kept(state, clock)
    display("pretraining", 0, 100)
    clock.now = 60.0
    display("finished pretraining", 1, 1, reused=0.0)
    assert state.eta() == ""  # nothing is known of the stages that are left
    clock.now = 70.0
    display("finished evaluate_pretraining", 1, 1, reused=0.0, mask_ap=0.1)
    clock.now = 100.0
    display("finished transfer", 1, 1, reused=0.0)
    assert state.eta() == ", more than 30 s left"  # one transfer, and an evaluation nobody timed
    clock.now = 104.0
    display("finished evaluate_transfer", 1, 1, reused=0.0, mask_ap=0.1)
    assert state.eta() == ", about 30 s left"
    display.finish_cell("mask", 0, mask_ap=0.1)
    assert display.lines[-1] == "[1/2] mask seed 0: AP 10.0, about 30 s left"


def test_reused_stages_cost_nothing_in_the_forecast():
    clock = Clock()
    state = StudyState(1, ["transfer", "transfer"])
    display = Kept(state, clock)
    display("finished transfer", 1, 1, reused=1.0)
    assert state.eta() == ""


def test_workers_are_followed_each_on_its_own_and_share_the_time():
    clock = Clock()
    state = StudyState(2, ["transfer", "transfer"], workers=2)
    display = Kept(state, clock)
    display("mask/s0: transfer", 1, 10, loss=3.0)
    clock.now = 5.0
    display("class/s0: transfer", 1, 10, loss=4.0)
    clock.now = 10.0
    display("mask/s0: finished transfer", 1, 1, reused=0.0)
    assert display.lines == ["mask/s0: transfer, loss 3 (10 s)"]
    assert state.eta() == ", about 5 s left"
    assert str(state.steps["class/s0"]) == "transfer 1/10, loss 4"
    display.finish_cell("mask", 0, mask_ap=0.2)
    assert set(state.steps) == {"class/s0"}


def test_a_failed_cell_says_why():
    display = Kept(StudyState(1), Clock())
    display.finish_cell("mask", 1, mask_ap=None, note="the loss is not finite")
    assert display.lines == ["[1/1] mask seed 1: failed (the loss is not finite)"]
    assert display.state.results == {("mask", 1): "failed"}


def test_a_pipe_gets_a_step_line_at_most_every_ten_seconds(capsys):
    clock = Clock()
    lines = Lines(StudyState(1), clock=clock)
    for step in range(1, 301):
        clock.now = step / 10
        lines("transfer", step, 300, loss=2.0, images_per_second=52.3)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 30 / QUIET_SECONDS
    assert printed[0].endswith("  transfer 1/300, loss 2, 52.3 images/s")
    stamp = printed[0].split("  ")[0]
    assert len(stamp) == len("2026-01-31 12:00:00")


def test_between_two_stages_a_pipe_gets_no_empty_line(capsys):
    lines = Lines(StudyState(1), clock=Clock())
    lines("finished pretraining", 1, 1, reused=1.0)
    assert capsys.readouterr().out == ""


def test_facts_of_one_stage_do_not_leak_into_the_next():
    state = StudyState(1)
    state.advance("transfer", 1, 2, {"loss": 1.0}, 0.0)
    state.advance("evaluation", 1, 2, {}, 0.0)
    assert str(state.steps[""]) == "evaluation 1/2"


def test_without_a_terminal_the_display_is_lines(capsys):
    assert isinstance(open_display(), Lines)


def test_a_terminal_shows_lines_bars_and_the_table_so_far():
    console = Console(file=io.StringIO(), force_terminal=True, width=120, record=True)
    state = StudyState(4, ["transfer"])
    with Live(state, console=console) as live:
        live("transfer", 120, 400, loss=3.25)
        live("finished evaluate_pretraining", 1, 1, reused=0.0, mask_ap=0.158)
        live.finish_cell("[mask]", 0, mask_ap=0.214)
        live("transfer", 130, 400, loss=3.2)
        console.print(live.render())
    text = console.export_text()
    assert "evaluate_pretraining, AP 15.8" in text
    assert "1/4 cells" in text
    assert "transfer 130/400, loss 3.2" in text
    assert "[mask]" in text  # a name is never markup
    assert "21.4" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (200.0, "3 min 20 s"), (7500.0, "2 h 5 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_an_ap_that_is_not_there_is_a_dash():
    assert [percent(ap) for ap in (None, float("nan"), 0.0, 0.2149)] == ["-", "-", "0.0", "21.5"]
