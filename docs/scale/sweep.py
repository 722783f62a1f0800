"""Search as configs/sweep.yaml says, without W&B: python docs/scale/sweep.py TRIALS, on each machine of a shared disk.

Further arguments are options of fit. What was tried is in runs/sweep.log, and is printed, best first, once TRIALS are
complete and all stop; remove it to begin anew.
"""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import Trial, TrialState

SWEEP = yaml.safe_load(Path("configs/sweep.yaml").read_text())
COMMAND = [sys.executable, *(word for word in SWEEP["command"] if not word.startswith("$"))]
RUNS = Path("runs/sweep")
COMPLETE = (TrialState.COMPLETE,)


def chosen(trial: Trial, name: str, among: dict[str, Any]) -> Any:
    """Return the value of one option for this trial."""
    if "values" in among:
        return trial.suggest_categorical(name, among["values"])
    return trial.suggest_float(name, among["min"], among["max"], log=among["distribution"].startswith("log"))


def accuracy(trial: Trial) -> float:
    """Train one run, in runs/sweep/<trial>/, and return its best validation accuracy."""
    values = {name: chosen(trial, name, among) for name, among in SWEEP["parameters"].items()}
    root = RUNS / str(trial.number)
    options = [f"--{name}={value}" for name, value in (values | {"trainer.default_root_dir": root}).items()]
    # S603: what is started is this project; Optuna prints a line for each trial
    subprocess.run([*COMMAND, *options, *sys.argv[2:]], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    with next(root.glob("*/metrics.csv")).open() as rows:
        return max(float(row["val/acc"]) for row in csv.DictReader(rows) if row["val/acc"])


if __name__ == "__main__":
    RUNS.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend("runs/sweep.log")),
        study_name="sweep",
        direction=SWEEP["metric"]["goal"],
        load_if_exists=True,
    )
    count = int(sys.argv[1])
    if len(study.get_trials(states=COMPLETE)) < count:
        enough = MaxTrialsCallback(count, states=COMPLETE)
        study.optimize(accuracy, callbacks=[enough], catch=(subprocess.CalledProcessError,))
    trials = study.trials_dataframe(("number", "value", "params")).dropna(subset="value")
    trials = trials.rename(columns=lambda name: name.removeprefix("params_")).rename(columns={"value": "val/acc"})
    ascending = SWEEP["metric"]["goal"] == "minimize"
    print(trials.sort_values("val/acc", ascending=ascending).to_string(index=False))
