"""The sweep of a search: Optuna proposes the values, the jobs' summaries say how good they were."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from semiseg.config import near
from semiseg.errors import ConfigError
from semiseg.files import write_json
from semiseg.schema import one_line
from semiseg.sweep.grid import settings_of
from semiseg.sweep.record import Job
from semiseg.sweep.session import Session
from semiseg.sweep.table import tell

if TYPE_CHECKING:
    import optuna

RESULTS = "optimization_results.json"
DIRECTIONS = ("maximize", "minimize")


@dataclass
class SearchConfig:
    """`hydra.sweeper` of `hydra/sweeper=optuna`, without the search space."""

    n_trials: int = 20
    batch_size: int | None = None
    seed: int = 0
    objectives: dict[str, str] = field(default_factory=lambda: {"best_val_miou": "maximize"})

    def __post_init__(self) -> None:
        for key, least in (("n_trials", 1), ("seed", 0), ("batch_size", 1)):
            value = getattr(self, key)
            if value is not None and value < least:
                raise ConfigError(f"hydra.sweeper.{key} is {value}; it must be {least} or more.")
        for name, direction in self.objectives.items():
            if direction not in DIRECTIONS:
                raise ConfigError(f"hydra.sweeper.objectives.{name} is {direction!r}; it must be maximize or minimize.")
        if not self.objectives:
            raise ConfigError("hydra.sweeper.objectives names none, such as best_val_miou: maximize.")


class Search:
    """A study in SQLite beside sweep.json; trial n is job n, so that a search continues like any sweep."""

    def __init__(
        self, session: Session, config: SearchConfig, params: Mapping[str, object], arguments: Sequence[str]
    ) -> None:
        """Raises ConfigError without Optuna, and for a space with nothing to search."""
        self.optuna = import_optuna()
        self.session, self.config = session, config
        overrides = settings_of(params, arguments)
        self.fixed = [str(each.input_line) for each in overrides if not each.is_sweep_override()]
        self.space = {each.get_key_element(): distribution(each) for each in overrides if each.is_sweep_override()}
        if not self.space:
            raise ConfigError(
                "hydra/sweeper=optuna has nothing to search: give a key several values or an interval, such as "
                "'pseudo_label.threshold=interval(0.4,0.9)'."
            )
        self.batch_size = config.batch_size or session.config.hydra.launcher.get("n_jobs", 1)

    def run(self) -> None:
        """Run trials until there are `n_trials`, those that failed included. Raises SemisegError when jobs failed."""
        self.session.begin(self.config.n_trials)
        self.study = self._study()
        unfinished = [self._job(trial) for trial in self.study.trials if not trial.state.is_finished()]
        self._evaluate(unfinished)
        while missing := max(0, self.config.n_trials - len(self.study.trials)):
            trials = [self.study.ask(self.space) for _ in range(min(missing, self.batch_size))]
            self._evaluate([self._job(trial) for trial in trials])
        self._report()
        self.session.conclude(
            "go on with others, since failed trials stay failed and count: resume=true with a larger "
            "hydra.sweeper.n_trials."
        )

    def _study(self) -> optuna.Study:
        """The study, made or opened again. A sampler of the same seed would propose the first trials again."""
        optuna = self.optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        database = (self.session.sweep.path / "optuna.db").absolute().as_posix()
        study = optuna.create_study(
            storage=f"sqlite:///{database}",
            study_name="sweep",
            load_if_exists=True,
            directions=list(self.config.objectives.values()),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = optuna.samplers.TPESampler(
                seed=self.config.seed + len(study.trials), constant_liar=self.batch_size > 1
            )
        return study

    def _job(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> Job:
        """The job of a trial."""
        varied = [f"{key}={value_text(value)}" for key, value in trial.params.items()]
        sweep = self.session.sweep
        return sweep.job(trial.number) or sweep.add([*self.fixed, *varied], varied, trial.number)

    def _evaluate(self, jobs: Sequence[Job]) -> None:
        """Run the jobs that are not done and tell the study of all; those that have no score have failed."""
        self.session.run([job for job in jobs if not job.done])
        for number in (job.number for job in jobs):
            job = self.session.sweep.job(number)
            values = [] if job is None or not job.done else self._values(job)
            if len(values) == len(self.config.objectives):
                self.study.tell(number, values)
            else:
                self.study.tell(number, state=self.optuna.trial.TrialState.FAIL)

    def _values(self, job: Job) -> list[float]:
        """The job's objectives, from its summary; none for one that is null there.

        Raises ConfigError for an objective that no summary holds, before the rest of the trials is spent on it.
        """
        summary = self.session.sweep.summary(job)
        numbers = [name for name, value in summary.items() if isinstance(value, int | float)]
        for name in self.config.objectives:
            if name not in numbers and summary.get(name, name) is not None:
                raise ConfigError(
                    f"hydra.sweeper.objectives.{name}: {self.session.sweep.folder(job) / 'summary.json'} holds no such "
                    f"number. {near(name, numbers)} The trials that are done keep theirs: correct the recipe of the "
                    "search and go on with resume=true."
                )
        return [float(summary[name]) for name in self.config.objectives if summary[name] is not None]

    def _report(self) -> None:
        """The best trial, or those that no other beats in every objective; printed and written down."""
        finished = [t for t in self.study.trials if t.state == self.optuna.trial.TrialState.COMPLETE]
        best = sorted(self.study.best_trials, key=lambda t: t.values[0], reverse=True) if finished else []
        if len(self.config.objectives) == 1:
            best = best[:1]
        results = {
            "objectives": self.config.objectives,
            "best": [self._row(trial) for trial in best],
            "trials": [self._row(trial) for trial in self.study.trials],
        }
        write_json(self.session.sweep.path / RESULTS, results)
        tell("Best trial" if len(self.config.objectives) == 1 else "Trials that no other beats in every objective")
        for row in results["best"]:
            scores = ", ".join(
                f"{name} {value:,.0f}" if abs(value) >= 1e4 else f"{name} {value:.4g}"
                for name, value in row["values"].items()
            )
            tell(f"  {row['number']}: {' '.join(row['varied'])}: {scores}")

    def _row(self, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
        job, values = self._job(trial), trial.values or []
        return {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "varied": job.varied,
            "folder": job.folder,
            "values": dict(zip(self.config.objectives, values, strict=False)),
        }


def import_optuna() -> Any:
    """Optuna, which only a search needs. Raises ConfigError where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(f'hydra/sweeper=optuna needs Optuna ({error}): pip install -e ".[sweep]"') from error
    return optuna


def distribution(override: Override) -> optuna.distributions.BaseDistribution:
    """What Optuna draws from: `a,b` or `choice(a,b)`, `range(a,b,step)`, `interval(a,b)`, `tag(log,interval(a,b))`.

    Raises ConfigError where there is nothing to draw.
    """
    try:
        return _distribution(override)
    except ValueError as error:
        raise ConfigError(f"{override.input_line} is nothing to search: {one_line(error)}") from error


def _distribution(override: Override) -> optuna.distributions.BaseDistribution:
    distributions = import_optuna().distributions
    sweep: Any = override.value()
    if isinstance(sweep, IntervalSweep):
        if "int" in sweep.tags or isinstance(sweep.start, int):  # tag(int,interval(a,b)) or int(interval(a,b))
            return distributions.IntDistribution(int(sweep.start or 0), int(sweep.end or 0), log="log" in sweep.tags)
        return distributions.FloatDistribution(float(sweep.start or 0), float(sweep.end or 0), log="log" in sweep.tags)
    if isinstance(sweep, RangeSweep):
        values = list(sweep.range())
        if not values or sweep.step < 0:
            raise ValueError("the range has no value, or runs backwards")
        if all(isinstance(value, int) for value in values):
            return distributions.IntDistribution(values[0], values[-1], step=int(sweep.step))
        # Not values[-1]: added up step by step it may be 0.8999999999999999 where 0.9 was meant.
        last = Decimal(str(values[0])) + (len(values) - 1) * Decimal(str(sweep.step))
        return distributions.FloatDistribution(values[0], float(last), step=float(sweep.step))
    return distributions.CategoricalDistribution(list(override.sweep_string_iterator()))


def value_text(value: object) -> str:
    """A value as an override takes it. Four digits are as fine as a search can tell, and can be read."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
