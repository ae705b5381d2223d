"""The networks of a sweep and their compiled programs, one at a time."""

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from brian2 import Quantity

from cnn2snn_brian.description.choices import CHOICES
from cnn2snn_brian.description.network import delays_in_seconds
from cnn2snn_brian.description.noise import kernel_noise
from cnn2snn_brian.description.run_settings import SETTINGS
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.experiments.grid import Setting, written
from cnn2snn_brian.network import SpikingNetwork
from cnn2snn_brian.program.simulator import Simulator

__all__ = ["Networks", "Simulators"]

#: Settings that make another network, besides those of a run.
OF_A_NETWORK = ("kernel_noise", "delay", *CHOICES)

#: Settings of a run that a network has a field for: the field is set, so that they
#: need not be what the network was made with.
FIELDS = ("neurons", "release_probability")


class Networks:
    """
    Makes the network of each setting.

    Parameters
    ----------
    network : SpikingNetwork or callable
        The network, or a function that makes it from settings of its own.

    Raises
    ------
    InputError
        If it is neither.
    """

    def __init__(self, network: SpikingNetwork | Callable[..., SpikingNetwork]) -> None:
        if not (isinstance(network, SpikingNetwork) or callable(network)):
            message = (
                f"network is {network!r}, expected a SpikingNetwork or a function that "
                "makes one"
            )
            raise InputError(message)
        self._network = network
        #: Names of settings that the function takes.
        self.own: tuple[str, ...] = ()
        if not isinstance(network, SpikingNetwork):
            self.own = tuple(inspect.signature(network).parameters)
        self._made: tuple[list[Any], SpikingNetwork] | None = None

    @property
    def known(self) -> tuple[str, ...]:
        """All settings that a grid can have."""
        return tuple(dict.fromkeys((*self.own, *SETTINGS, *OF_A_NETWORK)))

    def base(self, setting: Setting) -> SpikingNetwork:
        """
        Give the network that a setting begins with.

        Parameters
        ----------
        setting : Setting
            The setting.

        Returns
        -------
        SpikingNetwork
            The network itself, or what the function made. It is called again only if
            its own settings are others than those of the last call.
        """
        if isinstance(self._network, SpikingNetwork):
            return self._network
        labels = [label for name, (label, _) in setting.items() if name in self.own]
        if self._made is None or self._made[0] != labels:
            arguments = {n: value for n, (_, value) in setting.items() if n in self.own}
            self._made = labels, self._network(**arguments)
        return self._made[1]

    def of(self, setting: Setting, seed: int) -> SpikingNetwork:
        """
        Make the network of a setting and a seed.

        Parameters
        ----------
        setting : Setting
            The setting.
        seed : int
            Seed of the noise of kernels.

        Returns
        -------
        SpikingNetwork
            The network.

        Raises
        ------
        InputError
            If a value can't be used.
        """
        values = {n: value for n, (_, value) in setting.items() if n not in self.own}
        snn = self.base(setting)
        changes = {n: values[n] for n in (*CHOICES, "neurons") if n in values}
        if "delay" in values:
            changes["delays_s"] = delays_in_seconds(values["delay"], snn.layer_names)
        if "release_probability" in values:
            release = snn.check_release(values["release_probability"])
            changes["release_probability"] = {**snn.release_probability, **release}
        if changes:
            snn = dataclasses.replace(snn, **changes)
        noise = values.get("kernel_noise", 0)
        return kernel_noise(snn, noise, seed) if noise else snn

    def of_a_run(self, setting: Setting) -> dict[str, Any]:
        """
        Give those settings that a run takes.

        Parameters
        ----------
        setting : Setting
            The setting.

        Returns
        -------
        dict
            Arguments of `Simulator.run`.
        """
        return {
            name: value
            for name, (_, value) in setting.items()
            if name in SETTINGS and name not in self.own and name not in FIELDS
        }

    def label(self, setting: Setting) -> str:
        """
        Name the network of a setting.

        Parameters
        ----------
        setting : Setting
            The setting.

        Returns
        -------
        str
            The same for settings that differ only in what a run takes.
        """
        names = {*self.own, *OF_A_NETWORK, "neurons"}
        return str([(n, label) for n, (label, _) in setting.items() if n in names])


def _structure(snn: SpikingNetwork) -> str:
    """Say what has to be compiled anew when it changes, weights included."""
    models = {name: model.structure for name, model in snn.models(snn.neurons).items()}
    fixed = dataclasses.replace(
        snn,
        neurons={},
        parameters=snn.neutral_parameters(),
        release_probability=dict.fromkeys(snn.release_probability, 1.0),
    )
    return fixed.fingerprint + written(models)


class Simulators:
    """
    The simulator of the structure at hand: only one is kept at a time.

    Parameters
    ----------
    duration : Quantity [s]
        How long an image is shown.
    cache_directory : path-like, optional
        Where compiled programs are kept.
    """

    def __init__(
        self, duration: Quantity, cache_directory: str | Path | None = None
    ) -> None:
        self._duration, self._cache_directory = duration, cache_directory
        self._current: tuple[str, Simulator] | None = None

    def of(self, snn: SpikingNetwork) -> Simulator:
        """
        Give a simulator of a network, a new one if its structure is another.

        Parameters
        ----------
        snn : SpikingNetwork
            The network.

        Returns
        -------
        Simulator
            Its simulator.

        Raises
        ------
        BuildError
            If the program can't be compiled.
        """
        structure = _structure(snn)
        if self._current is None or self._current[0] != structure:
            self.close()
            made = snn.compile(self._duration, cache_directory=self._cache_directory)
            self._current = structure, made
        simulator = self._current[1]
        simulator.snn = snn
        return simulator

    def close(self) -> None:
        """Close it."""
        if self._current is not None:
            self._current[1].close()
            self._current = None
