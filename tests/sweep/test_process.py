"""A job's process: its last words, its share of the machine."""

from __future__ import annotations

import io
import os
import signal
import sys
import time

import pytest

from semiseg.sweep import process
from semiseg.sweep.process import JobProcess, environment, failure, gpus

TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "train.py", line 3, in <module>',
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
]


@pytest.mark.parametrize(
    ("status", "complaints", "text"),
    [
        (1, ["UserWarning: old", "semiseg: no images in data/x"], "no images in data/x"),
        (1, [*TRACEBACK, "resource_tracker: 2 leaked objects"], TRACEBACK[-1]),
        (1, ["Segmentation fault"], "Segmentation fault"),
        (3, [], "ended with status 3 and said nothing"),
        (-9, TRACEBACK, "killed by SIGKILL: often the system's answer to memory running out"),
        (137, [], "killed by SIGKILL: often the system's answer to memory running out"),
        (-11, [], "killed by SIGSEGV"),
        (0xC0000005, ["semiseg: no images in data/x"], "no images in data/x"),
        (0xC0000005, [], "ended with status 3221225477 and said nothing"),
    ],
)
def test_why_a_job_failed_in_one_line(status: int, complaints: list[str], text: str) -> None:
    if os.name != "posix" and "SIGKILL" in text:
        pytest.skip("Windows has no SIGKILL")
    assert failure(status, complaints) == text


def run(code: str, attached: bool = False) -> JobProcess:
    return JobProcess([sys.executable, "-S", "-c", code], os.environ, attached)


def ended(job: JobProcess) -> int:
    while (status := job.poll()) is None:
        time.sleep(0.01)
    return status


def test_last_lines_of_a_job_are_kept_and_its_output_is_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    job = run("import sys; print('much'); print('a\\n\\nb', file=sys.stderr); sys.exit(3)")
    assert ended(job) == 3
    assert job.complaints() == ["a", "b"]
    assert capfd.readouterr() == ("", "")


def test_an_attached_job_has_this_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    job = run("import sys; print('much'); print('odd', file=sys.stderr)", attached=True)
    assert ended(job) == 0
    assert job.complaints() == ["odd"]
    assert capfd.readouterr() == ("much\n", "odd\n")


def test_a_terminal_that_goes_away_does_not_hold_up_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    job = run("import sys; print('x' * 99_999 + '\\nodd', file=sys.stderr)", attached=True)  # more than a pipe holds
    assert ended(job) == 0
    assert job.complaints()[-1] == "odd"


@pytest.mark.skipif(os.name != "posix", reason="the terminal of Windows tells all processes itself")
def test_an_interrupt_reaches_the_job_and_a_kill_ends_it() -> None:
    code = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
    code += "print('up', file=sys.stderr, flush=True); time.sleep(60)"
    first, second = run(code), run("import time; time.sleep(60)")
    while not first._tail:
        time.sleep(0.01)
    first.interrupt()
    assert ended(first) == 143
    second.kill()
    assert second.poll() == -signal.SIGKILL
    second.interrupt()  # nobody there: no error
    second.kill()


def test_jobs_share_the_cores_and_take_the_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(process, "core_count", lambda: 8)
    shares = [environment(slot, 3, ["0", "1"]) for slot in range(3)]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["0", "1", "0"]
    assert {share["OMP_NUM_THREADS"] for share in shares} == {"2"}
    assert environment(0, 99, [])["OMP_NUM_THREADS"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in environment(1, 2, ["0"])  # the only GPU is for all
    alone = environment(0, 1, ["0", "1"])
    assert "OMP_NUM_THREADS" not in alone and "CUDA_VISIBLE_DEVICES" not in alone


def test_what_the_user_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environment(0, 2, [])["OMP_NUM_THREADS"] == "5"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5a")
    assert gpus() == ["3", "GPU-5a"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus() == []
