"""
Trying candidates: simulate them on the same pictures, and keep their values.

Values go to a checkpoint file as they come in. A method that is started again is given
the values on record, and goes on where it was.
"""

import hashlib
import json
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn2snn_brian.description.parameters import Parameters
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import written_whole
from cnn2snn_brian.program.simulator import Simulator
from cnn2snn_brian.program.workers import Workers
from cnn2snn_brian.progress import progress_bar
from cnn2snn_brian.results.result import SimulationResult
from cnn2snn_brian.tuning.methods import Method, Round
from cnn2snn_brian.tuning.objectives import Objective, Target, feature_map_correlation

__all__ = ["Pictures", "Records", "Tuner"]

#: Of the checkpoint file's form.
CHECKPOINT_VERSION = 1
#: What it has of each candidate.
COLUMNS = {
    "candidate",
    "round",
    "note",
    "n_images",
    "value",
    "criterion",
    "accuracy",
    "seconds",
    "parameters",
}


@dataclass(frozen=True)
class Pictures:
    """Pictures with their classes, mixed so that any first ones have all classes."""

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    @classmethod
    def mixed(
        cls, images: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], seed: int
    ) -> "Pictures":
        """
        Shuffle pictures, and take the classes in turn.

        Parameters
        ----------
        images : ndarray of float32, shape (n_images, channels, height, width)
            Pictures.
        labels : ndarray of int64, shape (n_images,)
            Their classes.
        seed : int
            Seed of the order.

        Returns
        -------
        Pictures
            The same pictures.
        """
        order = np.random.default_rng(seed).permutation(len(labels))
        rank = np.empty(len(labels), int)
        for label in np.unique(labels):
            members = order[labels[order] == label]
            rank[members] = np.arange(len(members))
        mixed = np.lexsort((labels, rank))
        return cls(images[mixed], labels[mixed])

    def __len__(self) -> int:
        return len(self.labels)

    def split(self, share: float) -> "tuple[Pictures, Pictures]":
        """
        Keep a share of every class apart.

        Parameters
        ----------
        share : float
            From 0 to below 1. Above 0, at least one picture of each class is apart,
            unless it is the only one.

        Returns
        -------
        kept, apart : Pictures
            The last ones of each class are apart.
        """
        apart = np.zeros(len(self), bool)
        for label in np.unique(self.labels):
            members = np.flatnonzero(self.labels == label)
            n_apart = max(int(share > 0), int(share * len(members)))
            apart[members[max(1, len(members) - n_apart) :]] = True
        return (
            Pictures(self.images[~apart], self.labels[~apart]),
            Pictures(self.images[apart], self.labels[apart]),
        )

    def fingerprint(self) -> str:
        """
        Hash pictures and labels.

        Returns
        -------
        str
            16 hexadecimal digits.
        """
        digest = hashlib.sha256(self.images.tobytes())
        digest.update(self.labels.tobytes())
        return digest.hexdigest()[:16]


class Records:
    """
    Values of candidates, kept in a checkpoint file as they come in.

    Parameters
    ----------
    path : path-like, optional
        The file. If it exists, its values are taken.
    settings : dict
        What the values depend on.

    Raises
    ------
    InputError
        If the file is no checkpoint, or one of other settings.
    """

    def __init__(self, path: str | Path | None, settings: dict[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self.settings = json.loads(json.dumps(settings))
        self.rows: dict[int, dict[str, Any]] = {}
        if self.path is None:
            return
        if not self.path.parent.is_dir():
            message = f"checkpoint {self.path}: its folder does not exist"
            raise InputError(message)
        if self.path.exists():
            self._read(self.path)

    def _read(self, path: Path) -> None:
        try:
            found = json.loads(path.read_text())
            version, settings = found["version"], dict(found["settings"])
            self.rows = {row["candidate"]: row for row in found["rows"]}
            incomplete = [n for n, row in self.rows.items() if COLUMNS - {*row}]
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"checkpoint {path}: not a tuning checkpoint ({error})"
            raise InputError(message) from error
        other = sorted(
            key
            for key in {*settings, *self.settings}
            if settings.get(key) != self.settings.get(key)
        )
        if version != CHECKPOINT_VERSION or other:
            message = (
                f"checkpoint {path} is of another tuning, it differs in "
                f"{', '.join(other) or 'version'}. Take the same arguments, or "
                "another file"
            )
            raise InputError(message)
        if incomplete:
            message = f"checkpoint {path}: damaged at candidate {incomplete[0]}"
            raise InputError(message)

    def add(self, row: dict[str, Any]) -> None:
        """
        Keep what a candidate yielded.

        Parameters
        ----------
        row : dict
            With the ``candidate``'s number.
        """
        self.rows[row["candidate"]] = row
        if self.path is not None:
            content = {
                "version": CHECKPOINT_VERSION,
                "settings": self.settings,
                "rows": [self.rows[index] for index in sorted(self.rows)],
            }
            with written_whole(self.path) as unfinished:
                unfinished.write_text(json.dumps(content))


class Tuner:
    """
    Runs candidates of a method on a simulator, or takes their values from records.

    Parameters
    ----------
    simulator : Simulator
        The network.
    pictures : Pictures
        The pictures, the same for all candidates.
    objective : callable
        What is to become large.
    compared : tuple of str
        Layers whose activations are needed.
    seed : int
        Seed of the input spikes, the same for all candidates.
    executor : int, Executor or None
        Who runs them.
    records : Records
        Values that are known, and where new ones are kept.
    """

    def __init__(
        self,
        simulator: Simulator,
        pictures: Pictures,
        objective: Objective,
        compared: tuple[str, ...],
        seed: int,
        executor: Workers,
        records: Records,
    ) -> None:
        self.simulator = simulator
        self.pictures = pictures
        self.objective = objective
        self.seed = seed
        self.executor = executor
        self.records = records
        self.target = Target.of(
            simulator.snn.layers, pictures.images, pictures.labels, compared
        )
        self.history: list[dict[str, Any]] = []
        self.n_rounds = 0

    def evaluate(self, tried: Round) -> list[float]:
        """
        Find the values of a round's candidates.

        Parameters
        ----------
        tried : Round
            The candidates.

        Returns
        -------
        list of float
            What the method goes by, in order.

        Raises
        ------
        InputError
            If the objective is not a number, or the records are of other candidates.
        """
        first = len(self.history)
        n_images = max(1, round(tried.share * len(self.pictures)))
        target = self.target.first(n_images)
        missing = []
        for offset, candidate in enumerate(tried.candidates):
            recorded = self.records.rows.get(first + offset)
            given = json.loads(json.dumps(asdict(candidate.parameters)))
            if recorded is None:
                missing.append(offset)
            elif recorded["parameters"] != given or recorded["n_images"] != n_images:
                message = (
                    f"checkpoint {self.records.path}: candidate {first + offset} is "
                    "another than this version of the method tries"
                )
                raise InputError(message)
        if missing:
            results = self.simulator.run_many(
                self.pictures.images[:n_images],
                [asdict(tried.candidates[offset].parameters) for offset in missing],
                seed=self.seed,
                executor=self.executor,
                progress=False,
            )
            # If the objective fails, the other candidates' programs end at once.
            with closing(results):
                for index, result in results:
                    row = self._row(tried, missing[index], result, target)
                    self.records.add({"candidate": first + missing[index], **row})
        rows = [self.records.rows[first + i] for i in range(len(tried.candidates))]
        self.history.extend(rows)
        self.n_rounds += 1
        return [row["criterion"] for row in rows]

    def _row(
        self, tried: Round, offset: int, result: SimulationResult, target: Target
    ) -> dict[str, Any]:
        """Put together what is kept of a candidate."""
        candidate = tried.candidates[offset]
        value = float(self.objective(result, target))
        if np.isnan(value):
            message = f"the objective is not a number for {candidate.note}"
            raise InputError(message)
        criterion = value
        if tried.layer is not None:
            agreement = feature_map_correlation(result, target, tried.layer)
            # Agreement has to help a value below 0 as well.
            criterion *= agreement if value >= 0 else 2 - agreement
        return {
            "round": self.n_rounds,
            "note": candidate.note,
            "n_images": target.n_images,
            "value": value,
            "criterion": criterion,
            "accuracy": result.accuracy(target.labels),
            "seconds": result.timings["run"],
            "parameters": asdict(candidate.parameters),
        }

    def follow(self, method: Method, budget: int, *, show: bool) -> Parameters:
        """
        Run a method to its end, or to the end of the budget.

        Parameters
        ----------
        method : Method
            The generator.
        budget : int
            Largest number of candidates.
        show : bool
            Whether to show a progress bar.

        Returns
        -------
        chosen : Parameters
            What the method chose.
        """
        with progress_bar("setting thresholds", budget, show=show) as advance:
            values: list[float] | None = None
            try:
                while True:
                    tried = method.send(values) if values else next(method)
                    if len(self.history) + len(tried.candidates) > budget:
                        method.close()
                        return tried.current
                    values = self.evaluate(tried)
                    # Values of fewer pictures can't be compared with these.
                    n_images = self.history[-1]["n_images"]
                    best = max(
                        row["value"]
                        for row in self.history
                        if row["n_images"] == n_images
                    )
                    note = f"{tried.candidates[-1].note}; best {best:.4f}"
                    advance(len(values), note)
            except StopIteration as stop:
                chosen: Parameters = stop.value
                return chosen
