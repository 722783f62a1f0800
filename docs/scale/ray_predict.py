"""Read the pictures of a folder with Ray: python docs/scale/ray_predict.py FOLDER ANSWERS.csv WORKERS."""

import csv
import sys
from pathlib import Path
from typing import Any

import ray

from lenet_lightning import Recognizer
from lenet_lightning.errors import RunError

FIELDS = ("picture", "digit", "probability", "notice", "error")


class Reader:
    """What a worker does with batches of pictures; it loads the network once."""

    def __init__(self) -> None:
        self.recognizer = Recognizer()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return a column for each of FIELDS."""
        return dict(zip(FIELDS, map(list, zip(*map(self.read, batch["picture"]), strict=True)), strict=True))

    def read(self, path: str) -> tuple[Any, ...]:
        """Return FIELDS of one picture; a damaged one does not end the others."""
        try:
            answer = self.recognizer(path)
        except RunError as error:
            return path, None, None, None, str(error)
        probability = None if answer.probabilities is None else float(answer.probabilities.max())
        return path, answer.digit, probability, answer.notice, None


if __name__ == "__main__":
    folder, answers, workers = sys.argv[1:]
    pictures = ray.data.from_items([{"picture": str(path.resolve())} for path in sorted(Path(folder).iterdir())])
    pool = ray.data.ActorPoolStrategy(size=int(workers))
    read = pictures.map_batches(Reader, batch_size=64, compute=pool, num_cpus=1)
    with open(answers, "w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(read.iter_rows())
