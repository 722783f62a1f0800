"""Read the pictures of a folder with Ray: python docs/scale/ray_predict.py PICTURES ANSWERS WORKERS."""

import io
import sys
from typing import Any

import ray

from lenet_lightning import Recognizer
from lenet_lightning.errors import RunError


class Reader:
    """Read batches of pictures; a worker has one, with its own network."""

    def __init__(self) -> None:
        self.recognizer = Recognizer()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return digit, probability and error of each picture by its path; a damaged picture does not end the job."""
        rows = [(path, *self.read(content)) for path, content in zip(batch["path"], batch["bytes"], strict=True)]
        return dict(zip(("path", "digit", "probability", "error"), map(list, zip(*rows, strict=True)), strict=True))

    def read(self, content: bytes) -> tuple[int | None, float | None, str | None]:
        """Return digit and probability (None: blank) of one picture, or the error."""
        try:
            answer = self.recognizer(io.BytesIO(content))
        except RunError as error:
            return None, None, str(error)
        return answer.digit, None if answer.probabilities is None else float(answer.probabilities.max()), None


if __name__ == "__main__":
    pictures, answers, workers = sys.argv[1:]
    found = ray.data.read_binary_files(pictures, include_paths=True)
    pool = ray.data.ActorPoolStrategy(size=int(workers))
    found.map_batches(Reader, batch_size=256, compute=pool, num_cpus=1).write_csv(answers)
