"""Jobs share the slots, and none is left behind when the command is stopped."""

from __future__ import annotations

import os
import signal

import pytest

from semiseg.sweep import pool
from semiseg.sweep.pool import Pool
from semiseg.sweep.record import Job

JOBS = [Job(number, [], [], str(number)) for number in range(5)]


class Fake:
    """Runs for some looks at it; `stubborn` ends when it is killed alone."""

    def __init__(self, looks: int, stubborn: bool = False) -> None:
        self.looks, self.stubborn = looks, stubborn
        self.told: list[str] = []

    def poll(self) -> int | None:
        self.looks -= 1
        return 0 if self.looks < 0 else None

    def interrupt(self) -> None:
        self.told.append("interrupt")
        if not self.stubborn:
            self.looks = 0

    def kill(self) -> None:
        self.told.append("kill")
        self.looks = 0


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "PAUSE", 0)


def test_no_more_than_n_jobs_at_a_time_and_slots_are_used_again() -> None:
    running, most, slots, ended = set(), [], [], []

    def start(job: Job, slot: int) -> Fake:
        running.add(job.number)
        most.append(len(running))
        slots.append(slot)
        return Fake(looks=3 if job.number == 0 else 1)

    def end(job: Job, fake: Fake) -> None:
        running.discard(job.number)
        ended.append(job.number)

    Pool(2, start, end).run(JOBS)
    assert max(most) == 2
    assert sorted(ended) == [0, 1, 2, 3, 4]
    assert slots[:2] == [0, 1] and set(slots) == {0, 1}


def test_an_interrupt_stops_what_runs_and_starts_nothing_more() -> None:
    fakes: dict[int, Fake] = {}
    ended = []

    def start(job: Job, slot: int) -> Fake:
        fakes[job.number] = Fake(looks=1000, stubborn=job.number == 7)
        if job.number == 1:
            signal.raise_signal(signal.SIGINT)
        return fakes[job.number]

    def end(job: Job, fake: Fake) -> None:
        ended.append(job.number)

    with pytest.raises(KeyboardInterrupt):
        Pool(3, start, end).run(JOBS)
    assert len(fakes) == 2 and fakes[0].told == ["interrupt"]
    assert sorted(ended) == [0, 1]


def test_what_does_not_stop_in_time_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "GRACE", 0)
    stubborn, ended = Fake(looks=1000, stubborn=True), []

    def start(job: Job, slot: int) -> Fake:
        signal.raise_signal(signal.SIGINT)
        return stubborn

    with pytest.raises(KeyboardInterrupt):
        Pool(1, start, lambda job, fake: ended.append(job.number)).run(JOBS)
    assert stubborn.told == ["interrupt", "kill"]
    assert ended == [0]


def test_a_second_interrupt_does_not_wait() -> None:
    stubborn = Fake(looks=1000, stubborn=True)
    stubborn.interrupt = lambda: signal.raise_signal(signal.SIGINT)  # type: ignore[method-assign]

    def start(job: Job, slot: int) -> Fake:
        signal.raise_signal(signal.SIGINT)
        return stubborn

    with pytest.raises(KeyboardInterrupt):
        Pool(1, start, lambda job, fake: None).run(JOBS)
    assert stubborn.told == ["kill"]


@pytest.mark.skipif(os.name != "posix", reason="Windows ends a process without asking it")
def test_a_request_to_end_is_an_interrupt_and_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def start(job: Job, slot: int) -> Fake:
        os.kill(os.getpid(), signal.SIGTERM)
        return Fake(looks=1000)

    with pytest.raises(KeyboardInterrupt):
        Pool(1, start, lambda job, fake: None).run(JOBS)
    assert signal.getsignal(signal.SIGTERM) == before
