"""C++ of a compiled network that learns, see ``learning.h``."""

from typing import Any

from cnn2snn_brian.brian.internals import RESULTS_FOLDER, CPPStandaloneDevice
from cnn2snn_brian.brian.plastic_synapses import TrialEnd
from cnn2snn_brian.description.network import NetworkDescription

__all__ = ["HEADER", "learning_after", "learning_before"]

HEADER = "learning.h"

#: Variable of event-driven equations: when a synapse was updated.
LAST_UPDATE = "lastupdate"


def learning_before(
    device: CPPStandaloneDevice, network: Any, snn: NetworkDescription
) -> list[str]:
    """
    Write what happens before the first image.

    Parameters
    ----------
    device : CPPStandaloneDevice
        The device.
    network : brian2.Network
        The network of the program.
    snn : NetworkDescription
        What it was built from.

    Returns
    -------
    list of str
        Lines of C++; none if nothing learns.
    """
    if not snn.rules:
        return []
    lines = [f"cnn2snn::Learning learning(program, {RESULTS_FOLDER});"]
    for name, rule in snn.rules.items():
        variables = network[f"{name}_synapses"].variables

        def array(variable: str, variables: Any = variables) -> str:
            found = device.get_array_name(variables[variable], access_data=False)
            return f"brian::{found}"

        lines.append(f'learning.add_weights("{name}", {array("w")});')
        own = [*rule.variables, *([LAST_UPDATE] if LAST_UPDATE in variables else [])]
        lines += [f"learning.add_state({array(variable)});" for variable in own]
    return lines


def learning_after(
    device: CPPStandaloneDevice, network: Any, snn: NetworkDescription
) -> list[str]:
    """
    Write what happens at the end of each image, before its results are written.

    Parameters
    ----------
    device : CPPStandaloneDevice
        The device.
    network : brian2.Network
        The network of the program.
    snn : NetworkDescription
        What it was built from.

    Returns
    -------
    list of str
        Lines of C++; none if nothing learns.
    """
    lines = []
    for name, rule in snn.rules.items():
        synapses = network[f"{name}_synapses"]
        reward = device.get_array_name(synapses.variables["reward"])
        lines.append(f"    {reward}[0] = learning.reward();")
        if rule.on_trial_end:
            runner = TrialEnd(synapses, rule)
            runner.before_run({})
            lines.append(f"    _run_{runner.codeobj.name}();")
    return [*lines, "    learning.write();"] if snn.rules else []
