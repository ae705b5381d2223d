"""A converted CNN: its Brian2 network, its compiled program, its file."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from brian2 import Network, Quantity, ms, second
from rich.table import Table
from safetensors import safe_open
from safetensors.numpy import save_file

from cnn2snn_brian.brian import (
    Builder,
    Extension,
    brian_network,
    described,
    end_trial,
    has_stored_state,
    runtime_mode,
)
from cnn2snn_brian.brian import show as show_image
from cnn2snn_brian.checks import (
    by_layer,
    check_choice,
    check_names,
    check_number,
    check_whole,
    seconds,
)
from cnn2snn_brian.errors import InputError
from cnn2snn_brian.files import DAMAGE, checksum, damage, written_whole
from cnn2snn_brian.nir import to_nir as nir_graph
from cnn2snn_brian.printing import Printed
from cnn2snn_brian.projections import INPUT
from cnn2snn_brian.projections import Network as Populations
from cnn2snn_brian.settings import (
    BY_TRIAL,
    CHOICES,
    IF,
    KEPT,
    ByLayer,
    Encoding,
    FrozenDict,
    NeuronModel,
    Parameters,
    Perturbations,
    Propagation,
    Reset,
    Rule,
    SynapseKind,
    as_array,
    check_layer_names,
    check_shown,
    check_units,
    checked_kinds,
    checked_rules,
    fields_of,
    network_record,
    passing_on,
    shown,
    shown_kind,
)
from cnn2snn_brian.simulator import Simulator
from cnn2snn_brian.stimuli import Stimulus

#: Raised when a file that was written before can no longer be read.
FORMAT = "cnn2snn-brian network 1"

#: Cached: Brian2 reads the equations of every model that is made.
_if = cache(IF)


@dataclass(eq=False)
class SpikingNetwork(Printed):
    """
    A converted CNN: what is needed to build its Brian2 network, any number of times.

    The attributes can be set, and are checked then; ``snn.thresholds = ...`` takes what
    `convert` takes. ``dataclasses.replace`` makes a changed copy. Two networks are
    equal if everything about them is, weights included.

    Attributes
    ----------
    layers : Network
        The layers with their weights.
    parameters : Parameters
        Thresholds, floors, leaks, starting potentials and rate scale.
    reset, encoding, propagation, dtype
        See `convert`.
    synapses : {"shared", "explicit"} or dict of str to {"shared", "explicit"}
        Whether only kernels are stored (see `SharedSynapses`), or every synapse; of all
        layers or by layer, and ``"shared"`` for layers that a dict leaves out.
    dt_s : float
        Time step in seconds.
    classes : tuple of str, optional
        Names of the output neurons.
    neurons : NeuronModel or dict of str to NeuronModel
        What the neurons compute, of all layers or by layer; `IF` by default, also for
        layers that a dict leaves out.
    delays_s : dict of str to float
        Delay of the synapses into a layer in seconds; 0 for layers left out.
    release_probability : dict of str to float
        Layers whose synapses fail at random, and the probability that a spike is
        transmitted.
    rules : dict of str to Rule
        Layers whose synapses learn, and their rules of plasticity.
    extension : Extension
        What `extend` added.

    Raises
    ------
    InputError
        If an attribute is unknown or out of its range, also when it is set later; or if
        there are not as many class names as output neurons.
    """

    layers: Populations
    parameters: Parameters
    reset: Reset = "zero"
    encoding: Encoding = "poisson"
    synapses: SynapseKind | Mapping[str, SynapseKind] = "shared"
    dt_s: float = 1e-3
    dtype: Literal["float32", "float64"] = "float32"
    classes: tuple[str, ...] | None = None
    neurons: NeuronModel | Mapping[str, NeuronModel] = field(default_factory=IF)
    delays_s: Mapping[str, float] = field(default_factory=dict)
    release_probability: Mapping[str, float] = field(default_factory=dict)
    propagation: Propagation = "step"
    rules: Mapping[str, Rule] = field(default_factory=dict)
    extension: Extension = field(default_factory=Extension)

    def __post_init__(self) -> None:
        names = self.layer_names
        check_layer_names(self.layers)
        n_outputs = math.prod(self.layers[-1].shape)
        if self.classes is not None and len(self.classes) != n_outputs:
            raise InputError(
                f"{n_outputs} output neurons, but {len(self.classes)} class names"
            )
        for what, choices in CHOICES.items():
            if what != "synapses":
                check_choice(what, getattr(self, what), choices)
        from_image = self.layers.out_of(INPUT)
        if self.encoding == "current" and any(p.gate for p in from_image):
            raise InputError(
                "maximum pooling of the image counts spikes: encoding='poisson'"
            )
        dt_s = seconds("dt", self.dt_s, above=0)
        models = self.models(self.neurons)
        check_names("delay", self.delays_s, names)
        late = [(name, delay_s, 0) for name, delay_s in self.delays_s.items()]
        for p in self.layers.projections:
            late.append((p.name, p.delay_s, int(self.layers.is_feedback(p))))
        for name, delay_s, least in late:
            steps = delay_s / self.dt_s
            if not least <= steps < math.inf or abs(steps - round(steps)) > 1e-6:
                raise InputError(
                    f"the delay of {name} is {1e3 * delay_s:g} ms, expected a multiple "
                    f"of dt {1e3 * self.dt_s:g} ms of at least {least}"
                )
        self.parameters.check_network(self)
        neurons = self.neurons
        # Copies, which can't be changed once they are checked.
        vars(self).update(
            classes=None if self.classes is None else tuple(self.classes),
            neurons=FrozenDict(neurons) if isinstance(neurons, Mapping) else neurons,
            dt_s=dt_s,
            synapses=checked_kinds(self.synapses, names),
            release_probability=FrozenDict(
                self.check_release(self.release_probability)
            ),
            delays_s=FrozenDict(self.delays_s),
        )
        kinds = self.synapse_kinds
        rules = checked_rules(self.rules, self.layers, kinds, self.encoding, models)
        vars(self).update(rules=rules)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "thresholds":
            name, value = "parameters", self.parameters.replace(thresholds=value)
        if name not in (names := [item.name for item in fields(self)]):
            raise AttributeError(f"a SpikingNetwork has no field {name!r}")
        if names[-1] in vars(self):  # all are there: it was made and checked
            value = getattr(replace(self, **{name: value}), name)
        vars(self)[name] = value

    record = network_record
    show = show_image
    to_nir = nir_graph

    @property
    def synapse_kinds(self) -> dict[str, SynapseKind]:
        """Kind of the synapses into every layer, in order."""
        if isinstance(self.synapses, Mapping):
            return dict(self.synapses)
        return dict.fromkeys(self.layer_names, self.synapses)

    def models(
        self, neurons: NeuronModel | Mapping[str, NeuronModel]
    ) -> dict[str, NeuronModel]:
        """
        Give every layer's model of its neurons.

        Parameters
        ----------
        neurons : NeuronModel or dict of str to NeuronModel
            One model, or models by layer. Layers left out have `IF`.

        Returns
        -------
        dict of str to NeuronModel
            By layer, in order.

        Raises
        ------
        InputError
            If a layer is unknown, or a model is not a `NeuronModel`.
        """
        names = self.layer_names
        models = dict.fromkeys(names, _if()) | by_layer("neurons", neurons, names)
        for name, model in models.items():
            if not isinstance(model, NeuronModel):
                raise InputError(
                    f"neurons of {name}: {model!r}, expected a NeuronModel"
                )
            if self.layers.is_gate(name):  # what passes it is what its source sends
                before = models.get(self.layers.sources(name)[0], _if())
                if before.signed:
                    raise InputError(
                        f"{name}: maximum pooling can't take spikes back; give "
                        "neurons without signed=True to what it reads"
                    )
                if before.size is not None or model.size is not None:
                    models[name] = passing_on(before)
            elif model.name == "BurstIF" and self.reset == "zero":
                raise InputError(
                    f"neurons of {name}: a burst takes a threshold from v for each of "
                    "its spikes, so BurstIF needs reset='subtract' (preset='bursts')"
                )
        return models

    def check_release(self, probability: ByLayer) -> dict[str, float]:
        """
        Take one release probability or one by layer.

        Parameters
        ----------
        probability : float or dict of str to float
            Probability that a spike is transmitted, 0 to 1.

        Returns
        -------
        dict of str to float
            By layer; layers that a dict leaves out are left out.

        Raises
        ------
        InputError
            If a layer is unknown, or a number is out of its range.
        """
        given = by_layer("release_probability", probability, self.layer_names)
        return {
            name: check_number(f"release_probability of {name}", p, 0, 1)
            for name, p in given.items()
        }

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers, in order."""
        return self.layers.names

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Threshold of every layer, in order."""
        return self.parameters.thresholds

    @property
    def dt(self) -> Quantity:
        """Time step of the simulation [s]."""
        return self.dt_s * second

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of the input neurons: an image's, or twice its channels (ON, OFF)."""
        return self.layers.input_shape

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of an image, (channels, height, width)."""
        return self.layers.image_shape

    @property
    def has_constant_input(self) -> bool:
        """Whether any layer gets a constant input besides the leak."""
        biased = any(layer.bias is not None for layer in self.layers)
        return biased or self.encoding == "current"

    @property
    def layer_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the layers, and of ``input`` if it spikes, by name."""
        shapes = self.layers.shapes
        if self.encoding == "current":
            del shapes[INPUT]
        return shapes

    @property
    def population_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all populations that spike, added ones last, by name."""
        return {**self.layer_shapes, **self.extension.populations}

    def neutral_parameters(self) -> Parameters:
        """
        Give parameters that say nothing of this network.

        A compiled program gets its own at run time; these keep them out of its source.

        Returns
        -------
        parameters : Parameters
            Thresholds of 1, everything else 0.
        """
        return Parameters.of(self.layer_names, thresholds=1, v_min=0, leak=0, v_init=0)

    @property
    def fingerprint(self) -> str:
        """Hash of everything about the network, weights included, 32 digits."""
        settings, _ = self.record()
        settings["layers"] = self.layers.digest + self.extension.digest
        text = json.dumps(settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def summary(self) -> dict[str, Any]:
        """
        Say what a result should know of its network.

        Returns
        -------
        dict
            What JSON can hold: ``reset``, ``encoding``, ``synapses``, ``dtype``,
            ``delays_s``, ``classes``, ``layers``, a hash of layers and weights, and
            ``receptive_fields`` by layer; if there are any, ``pairs`` of ON and OFF
            cells, and the ``image_shape`` if ON and OFF cells say pixels.
        """
        own: dict[str, Any] = {}
        if self.layers.pairs:
            own["pairs"] = self.layers.pairs
        if self.layers.pixels is not None:
            own["image_shape"] = list(self.image_shape)
        return own | {
            **{what: getattr(self, what) for what in CHOICES},
            "delays_s": dict(self.delays_s),
            "classes": None if self.classes is None else list(self.classes),
            "layers": self.layers.digest[:32],
            **({"extension": self.extension.digest} if self.extension.builders else {}),
            "receptive_fields": {
                name: own.record() for name, own in self.layers.receptive_fields.items()
            },
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpikingNetwork):
            return NotImplemented
        return self.fingerprint == other.fingerprint

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"SpikingNetwork({self.layers!r}, encoding {self.encoding}, reset "
            f"{self.reset}, dt {self.dt})"
        )

    def _parts(self) -> list[str | Table]:
        choices = (
            f"encoding {self.encoding}, reset {self.reset}, dt {self.dt}, "
            f"{shown_kind(self.synapses)} synapses, {self.dtype}, propagation "
            f"{self.propagation}"
        )
        delays = [f"{k} {1e3 * v:g} ms" for k, v in self.delays_s.items() if v]
        lines = [choices, *shown(self.parameters, Perturbations.of(self))]
        if delays:
            lines.append(f"delays: {', '.join(delays)}")
        if added := self.extension.names:
            lines.append(f"added: {', '.join(added)}")
        notes = self.layers.notes
        return [*self.layers._parts(), *notes, "\n".join(lines)]

    def plasticity(self, layer: str, rule: Rule) -> "SpikingNetwork":
        """
        Let the synapses into a layer learn.

        Parameters
        ----------
        layer : str
            A layer with explicit synapses: ``convert(..., synapses={"ip1":
            "explicit"})``.
        rule : Rule
            The rule: `STDP`, `RewardSTDP` or your own `Rule`.

        Returns
        -------
        SpikingNetwork
            A new network; this one stays as it is.

        Raises
        ------
        InputError
            If the layer is unknown or has no explicit synapses, or the rule is not a
            `Rule`.
        """
        return replace(self, rules={**self.rules, layer: rule})

    def extend(
        self, build: Callable[[Network], object], *, seed: int = 0
    ) -> "SpikingNetwork":
        """
        Add Brian2 objects of your own around the CNN.

        They become part of each network that `network` makes, and of the program that
        `compile` makes. In a program, each trial starts with all of their variables as
        `build` left them.

        Parameters
        ----------
        build : function of a brian2.Network
            It adds Brian2 objects to the network, as one does in a script: groups of
            neurons, synapses between them and to the layers (``network["conv2"]``),
            `PoissonGroup`, `PoissonInput`, `SpikeGeneratorGroup`, ``run_regularly``.
            Objects without a clock get the network's, ``network.clock``. Names in
            equations are those that the function sees. It is called for each network
            that is made.
        seed : int
            Seed of what `build` draws: random connections, delays and initial values.

        Returns
        -------
        SpikingNetwork
            A new network; this one stays as it is. Added groups that spike are
            populations of its results.

        Raises
        ------
        InputError
            If `build` removes something, adds what a program can't run (a
            `NetworkOperation`, a monitor), an object that was made elsewhere, or one
            whose name, time step or delay does not fit.
        """
        if not callable(build):
            raise InputError(f"extend: {build!r} is not a function")
        builder = Builder(build, check_whole("seed", seed, 0))
        bare = replace(self, extension=Extension())
        with runtime_mode():
            network = brian_network(bare, self.parameters, Perturbations.of(bare))
            builders = (*self.extension.builders, builder)
            extension = described(network, builders, self.layers)
        return replace(self, extension=extension)

    def network(
        self,
        image: Any = None,
        parameters: Parameters | None = None,
        *,
        seed: int = 0,
        input: Any = None,
        values: Mapping[str, Quantity] | None = None,
        **perturbations: Any,
    ) -> Network:
        """
        Build a plain Brian2 network on the active device.

        Populations are named like their layers, the Poisson source ``input``, the
        synapses into a layer ``conv1_synapses`` and so on: ``network["conv1"].v``.
        Add monitors, change what you like, and run it. `show` gives it another image.

        Parameters
        ----------
        image : ndarray, shape (channels, height, width), or Stimulus, optional
            The image to show, float in [0, 1] or uint8; or a stimulus in time. Without
            one, the input is silent.
        parameters : Parameters, optional
            Use these instead of the network's own.
        seed : int
            Seed of lesions without one, and of lost and displaced input spikes. All
            other random numbers follow ``brian2.seed``.
        input : Group, optional
            Your own group in place of the input, such as a `SpikeGeneratorGroup`:
            anything that spikes, with a neuron for each pixel, ordered (y, x, channel),
            and the network's time step. It keeps its name.
        values : dict of str to Quantity, optional
            Variables of what `extend` added, as in `Simulator.run`.
        **perturbations
            ``neurons``, ``release_probability``, ``lesion``, ``input_deletion``,
            ``input_jitter``, ``plasticity`` and ``weights`` as in `Simulator.run`.
            Layers with lesions have a variable ``lesioned``, which can be changed.

        Returns
        -------
        brian2.Network
            The network, at the start of an image.

        Raises
        ------
        InputError
            If the image, the stimulus, the group, the number of synapses or an
            argument can't be used.
        UnsupportedDeviceError
            If input spikes are lost, displaced or silenced in Brian2's standalone mode.
        """
        if late := {KEPT, *BY_TRIAL} & set(perturbations):
            raise InputError(
                f"{', '.join(sorted(late))}: in Brian2, give it to end_trial when a "
                "trial ends"
            )
        parameters = self.parameters if parameters is None else parameters
        if values:
            parameters = parameters.replace(values=values)
        parameters.check_network(self)
        given = Perturbations.of(self, seed, **perturbations)
        if image is not None and input is not None:
            raise InputError("give an image or stimulus, or input=..., not both")
        if isinstance(input, Stimulus):
            raise InputError(
                f"input is a {input.label}: a stimulus is the first argument"
            )
        if input is not None and float(given.input_jitter):
            raise InputError(
                "input_jitter: spikes of your own group can't be displaced; show "
                "SpikeTrains for that"
            )
        if image is not None and not isinstance(image, Stimulus):
            check_shown(as_array("the image", image)[None], self.layers)
            network = brian_network(self, parameters, given, seed)
            self.show(network, image)
            return network
        stimulus = image if input is None else input
        return brian_network(self, parameters, given, seed, stimulus)

    def end_trial(
        self, network: Network, reward: float = 0.0, *, keep_weights: bool = True
    ) -> None:
        """
        End a trial of a Brian2 network that learns, and go back to its start.

        Rules do what they do at a trial's end, then the network is restored as
        ``network.store()`` left it, monitors and time included. Read your monitors
        before.

        Parameters
        ----------
        network : brian2.Network
            A network that `network` made, on which ``network.store()`` was called
            before its first trial.
        reward : float
            Reward of the trial.
        keep_weights : bool
            Whether the learned weights go on, or are those of the start again.

        Raises
        ------
        InputError
            If nothing learns, the network was not stored or the reward is not finite.
        """
        if not self.rules:
            raise InputError(
                "end_trial: no layer of this network learns; use network.restore()"
            )
        reward = check_number("reward", reward)
        if not has_stored_state(network):
            raise InputError(
                "end_trial: call network.store() before the first trial, so that there "
                "is a start to go back to"
            )
        learned = []
        for name, rule in self.rules.items():
            synapses = network[f"{name}_synapses"]
            end_trial(synapses, rule, reward)
            learned.append((synapses, np.array(synapses.w_[:])))
        network.restore()
        for synapses, weights in learned if keep_weights else ():
            synapses.w = weights

    @check_units(duration=second)
    def compile(
        self,
        duration: Quantity = 100 * ms,
        *,
        cache_directory: str | Path | None = None,
    ) -> Simulator:
        """
        Compile the network with Brian2's C++ standalone mode.

        Parameters
        ----------
        duration : Quantity [s]
            How long an image is shown, and how long a stimulus takes at most; a
            multiple of dt.
        cache_directory : path-like, optional
            Where compiled programs are kept; the user's cache directory by default.

        Returns
        -------
        Simulator
            A context manager that runs the program.

        Raises
        ------
        InputError
            If the duration can't be used.
        BuildError
            If there is no C++ compiler, it fails, or the cache can't be used.
        """
        return Simulator(self, duration, cache_directory=cache_directory)

    def save(self, path: str | Path) -> None:
        """
        Write the network to one file: layers, weights, thresholds and settings.

        Parameters
        ----------
        path : path-like
            The file, a safetensors file with the settings in its header.

        Raises
        ------
        FileNotFoundError
            If its folder does not exist.
        InputError
            If it was extended: a file can't hold Brian2 objects.
        WriteError
            If the disk is full, or the like.
        """
        if self.extension.builders:
            raise InputError(
                "save: a file can't hold what extend added; save the network before, "
                "and extend it after loading"
            )
        settings, arrays = self.record()
        text = json.dumps(settings)
        header = {"format": FORMAT, "network": text, "sha256": checksum(text, arrays)}
        with written_whole(path) as unfinished:
            save_file(arrays, unfinished, metadata=header)

    @classmethod
    def load(cls, path: str | Path) -> "SpikingNetwork":
        """
        Read a network that `save` wrote, also one of version 0.1.0.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        SpikingNetwork
            The same network.

        Raises
        ------
        InputError
            If the file is missing, damaged or of another kind.
        """
        if not Path(path).is_file():
            raise InputError(f"{path}: there is no such file")
        with (
            damage(f"{path}: not a converted network"),
            safe_open(path, framework="numpy") as file,
        ):
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header.get("format") != FORMAT:
            raise InputError(
                f"{path}: its format is {header.get('format')!r}, expected {FORMAT!r}; "
                "make it with `cnn2snn-brian convert` or SpikingNetwork.save"
            )
        # Files of version 0.1.0 have no checksum.
        expected = header.get("sha256", None if len(header) == 2 else "")
        try:
            if expected not in (None, checksum(header["network"], arrays)):
                raise ValueError("its checksum is another than that of its content")
            return cls(**fields_of(json.loads(header["network"]), arrays))
        except DAMAGE as error:
            kind = type(error).__name__
            raise InputError(f"{path}: damaged: {kind}: {error}") from error
