import io
import math
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console as Terminal

from semiseg import console as module
from semiseg.console import Console, PlainConsole, RichConsole, make_console
from semiseg.pace import Pace, clock

BEST = Path("runs/x/best_model.pth")
FIELDS = {"CE": "0.285", "Dice": "0.182", "ST": "0.412", "ST_px": "34821"}
PLAIN = """\
labelled train 40 patches of 5 sources
unlabelled 80 patches
Warning: 3 patches skipped
Doctor (gap-wide): gap 0.2 [at 500]. Try: pseudo_label.weight=1.5
Training V3: 100 of 300 iterations done
Iter 110/300 | CE: 0.285 | Dice: 0.182 | ST: 0.412 | ST_px: 34821 | 41.3 images/s | 0:03:10 left
============================================================
Evaluating at iteration 110...
============================================================
Training mIoU: 0.6834
Validation mIoU: 0.6712
Train/Val Gap: 0.0122
Class IoU: Badan Air: 0.5000 | Pohon [x]: absent
✓ New best validation mIoU: 0.6712 (previous: 0.6453)
  Saving best model to: runs/x/best_model_ema.pth
============================================================
============================================================
Summary
============================================================
val mIoU (best)  0.6712 at iteration 110
run folder       runs/x
============================================================
Next: semiseg compare runs=runs
"""


@pytest.fixture(autouse=True)
def time_stands_still(monkeypatch):
    """The loop began ten seconds before whatever the test does."""
    monkeypatch.setattr(Pace, "elapsed", lambda _: 10.0)


def tell(console: Console) -> None:
    console.pools(["labelled train 40 patches of 5 sources", "unlabelled 80 patches"])
    console.warning("3 patches skipped")
    console.finding("gap-wide", "gap 0.2 [at 500]", "pseudo_label.weight=1.5")
    console.start(300, 100, "Training V3")
    console.step(110, FIELDS, 41.28)
    iou = {"Badan Air": 0.5, "Pohon [x]": math.nan}
    console.evaluation(110, 0.6834, 0.6712, 0.0122, 0.6453, True, iou, Path("runs/x/best_model_ema.pth"))
    console.finish({"val mIoU (best)": "0.6712 at iteration 110", "run folder": "runs/x"}, "semiseg compare runs=runs")
    console.close()


def stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")


def written(text: io.TextIOWrapper) -> str:
    text.flush()
    buffer = text.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(text.encoding)


def terminal(encoding: str = "utf-8") -> Terminal:
    return Terminal(file=stream(encoding), force_terminal=True, record=True, width=100, legacy_windows=False)


def test_plain_lines_are_exactly_these_in_the_terminal_and_in_the_log(tmp_path: Path):
    out = stream("utf-8")
    console = PlainConsole(tmp_path / "log.txt", out)
    tell(console)
    assert written(out) == PLAIN
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == PLAIN
    assert console.warnings == ["3 patches skipped"]


def test_the_rich_console_tells_the_same_facts_and_writes_the_same_log(tmp_path: Path):
    screen = terminal()
    console = RichConsole(tmp_path / "log.txt", screen)
    tell(console)
    shown = screen.export_text()
    for line in PLAIN.splitlines():
        if not line.startswith(("=", "Iter", "Training V3", "Evaluating")):
            assert line.strip() in shown
    for part in ("Training V3", "110/300", "37%", " | ".join(f"{k}: {v}" for k, v in FIELDS.items()), "0:03:10 left"):
        assert part in shown
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == PLAIN
    assert console.warnings == ["3 patches skipped"]


@pytest.mark.parametrize(
    "make", [lambda out: PlainConsole(None, out), lambda out: RichConsole(None, terminal("cp1252"))]
)
def test_a_windows_code_page_gets_an_asterisk_for_the_check_mark(make):
    out = stream("cp1252")
    console = make(out)
    tell(console)
    shown = written(out) if isinstance(console, PlainConsole) else console._terminal.export_text()
    assert "* New best validation mIoU: 0.6712" in shown and "✓" not in shown


@pytest.mark.parametrize("interactive", [False, True])
def test_a_class_name_the_terminal_cannot_show_does_not_end_the_run(interactive: bool):
    out = stream("cp1252")
    console = make_console(interactive, stream=out)
    console.evaluation(1, 0.1, 0.1, 0.0, None, False, {"рис": 0.5}, BEST)
    console.close()
    assert "???: 0.5000" in written(out)


def test_the_first_best_has_no_previous_and_a_worse_one_saves_no_best():
    out = stream("utf-8")
    console = PlainConsole(None, out)
    console.evaluation(1, math.nan, 0.4201, math.nan, None, True, {}, BEST)
    console.evaluation(2, 0.5, 0.41, 0.09, 0.4201, False, {}, BEST)
    text = written(out)
    assert "Training mIoU: n/a" in text and "New best validation mIoU: 0.4201\n" in text
    assert text.count("New best") == text.count(f"  Saving best model to: {BEST}") == 1


def test_weights_that_are_kept_without_being_the_best_are_not_called_so():
    """After a restore from another folder, or where the best ones are gone."""
    out = stream("utf-8")
    PlainConsole(None, out).evaluation(3, 0.5, 0.41, 0.09, 0.4201, True, {}, BEST)
    text = written(out)
    assert "Best weights in this folder: validation mIoU 0.4100 (others had 0.4201)" in text and "New best" not in text


@pytest.mark.parametrize("interactive", [False, True])
def test_names_in_a_message_steer_no_terminal(interactive: bool, tmp_path: Path):
    out = stream("utf-8")
    console = make_console(interactive, tmp_path / "log.txt", out)
    console.warning("a\x1b[2J.png")
    console.message("b\nc.png")
    console.close()
    for text in (written(out), (tmp_path / "log.txt").read_text(encoding="utf-8")):
        assert "a\\x1b[2J.png" in text and "b\\nc.png" in text


def test_the_stream_decides_where_nothing_is_asked_for(capsys):
    assert isinstance(make_console(), PlainConsole)
    assert isinstance(make_console(stream=stream("utf-8")), PlainConsole)
    assert isinstance(make_console(True, stream=stream("utf-8")), RichConsole)


def test_a_log_that_cannot_be_written_does_not_end_the_run(tmp_path: Path):
    out = stream("utf-8")
    PlainConsole(tmp_path, out).message("hello")  # a folder: opening it fails with an OSError
    assert written(out) == "hello\n"


def test_the_cursor_comes_back_after_an_error():
    screen = terminal()
    console = RichConsole(None, screen)
    console.start(10, 0, "Training")
    console.close()
    console.close()
    assert isinstance(screen.file, io.TextIOWrapper) and written(screen.file).endswith("\x1b[?25h")


def test_no_thread_draws_beside_the_training_loop():
    before = threading.active_count()
    console = RichConsole(None, terminal())
    console.start(10, 0, "Training")
    assert threading.active_count() == before
    console.close()


def test_time_left_counts_the_steps_of_this_session_alone():
    assert Pace(300, 100).left(100) == "?"
    assert Pace(300, 100).left(150) == "0:00:30"  # 50 steps in 10 s, 150 to go
    assert clock(3 * 3600 + 62.4) == "3:01:02"
    assert module.score(math.nan) == "n/a"


READER_LEAVES = """
import sys
from pathlib import Path
from semiseg.console import make_console
console = make_console(log_file=Path(sys.argv[1]))
for number in range(3000):
    console.message(f"line {number} " + 80 * "-")
print("and Python's own", flush=True)
console.close()
"""


def test_a_reader_that_goes_away_takes_the_output_along_and_not_the_work(tmp_path: Path):
    command = [sys.executable, "-c", READER_LEAVES, str(tmp_path / "log.txt")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith("line 0")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()[-1].startswith("line 2999")
