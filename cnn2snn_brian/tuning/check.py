"""Whether thresholds that were found are better than the network's own."""

from dataclasses import dataclass
from math import comb

from cnn2snn_brian.description.parameters import Parameters
from cnn2snn_brian.tuning.objectives import Objective
from cnn2snn_brian.tuning.trials import Shown

__all__ = ["SURE", "Check", "compare"]

#: A difference is sure if chance makes one as large in fewer than this share of cases.
SURE = 0.05


@dataclass(frozen=True)
class Check:
    """
    What the network yields on some images, before and with what was found.

    Attributes
    ----------
    n_images : int
        Number of images.
    value_before, value : float
        Objective with the network's own parameters, and with those that were found.
    accuracy_before, accuracy : float
        Share of images that are classified correctly.
    cnn_accuracy : float
        The CNN's share.
    n_gained, n_lost : int
        Images that are classified correctly only with what was found, and only before.
    """

    n_images: int
    value_before: float
    value: float
    accuracy_before: float
    accuracy: float
    cnn_accuracy: float
    n_gained: int
    n_lost: int

    @property
    def p_value(self) -> float:
        r"""
        Say how likely chance alone would change the accuracy as much.

        Both settings see the same images, so only those count whose classification
        became right (:math:`g`) or wrong (:math:`l`). Without a difference, each of
        them is as likely to be one as the other (McNemar [1]_, in the exact form of the
        sign test [2]_):

        .. math:: p = \min\left(1,\; 2 \sum_{k=0}^{\min(g, l)}
           \binom{g + l}{k} 2^{-(g + l)}\right)

        Fewer than six changed images can't be told from chance: then
        :math:`p \ge 0.06`.

        References
        ----------
        .. [1] McNemar (1947), Note on the sampling error of the difference between
           correlated proportions or percentages, doi:10.1007/BF02295996
        .. [2] Dixon and Mood (1946), The statistical sign test,
           doi:10.1080/01621459.1946.10501898
        """
        n = self.n_gained + self.n_lost
        fewer = min(self.n_gained, self.n_lost)
        # Whole numbers until the end: 2**n is no float above n = 1023.
        ways = sum(comb(n, k) for k in range(fewer + 1))
        return min(1.0, 2 * ways / 2**n)

    def is_better(self, *, by_accuracy: bool) -> bool:
        """
        Say whether what was found is better than what was there before.

        Parameters
        ----------
        by_accuracy : bool
            Whether the accuracy decides, and the objective only where it is the same;
            else the objective decides alone.

        Returns
        -------
        bool
            False if they are equal.
        """
        if by_accuracy and self.n_gained != self.n_lost:
            return self.n_gained > self.n_lost
        return self.value > self.value_before


def compare(
    shown: Shown, objective: Objective, before: Parameters, found: Parameters
) -> Check:
    """
    Show the same images with two settings.

    Parameters
    ----------
    shown : Shown
        The images, and the simulator.
    objective : callable
        What is to become large.
    before, found : Parameters
        The settings.

    Returns
    -------
    Check
        What they yield.
    """
    target, labels = shown.target, shown.images.labels
    results = dict(shown.run([before, found]))
    was_right, is_right = (results[i].predictions == labels for i in (0, 1))
    return Check(
        n_images=len(labels),
        value_before=float(objective(results[0], target)),
        value=float(objective(results[1], target)),
        accuracy_before=results[0].accuracy(labels),
        accuracy=results[1].accuracy(labels),
        cnn_accuracy=float((target.predictions == labels).mean()),
        n_gained=int((is_right & ~was_right).sum()),
        n_lost=int((was_right & ~is_right).sum()),
    )
