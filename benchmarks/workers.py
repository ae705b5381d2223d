"""One worker process against two."""

from contextlib import ExitStack

from benchmarks.child import OURS, Child, Task
from benchmarks.measure import Summary, Table, cores, ratios, rounds
from benchmarks.networks import PAPER, Options, paper_workload

__all__ = ["workers"]


def workers(options: Options) -> list[Table]:
    """
    Compare numbers of workers, all on the same two cores.

    Parameters
    ----------
    options : Options
        Number of rounds and images.

    Returns
    -------
    list of Table
        One.
    """
    workload = paper_workload(options)
    n = len(workload.images)
    with ExitStack() as stack:
        children = {
            count: stack.enter_context(Child(Task(OURS, workload, PAPER, 2, count)))
            for count in (1, 2)
        }
        actions = {str(count): child.run for count, child in children.items()}
        rounds(actions, 1)
        found = rounds(actions, options.repeats)
    table = Table("workers", "Worker processes, T = 100")
    for count, times in found.items():
        table.rows.append(
            {
                "workers": int(count),
                "ms per image": Summary.of([1e3 * s / n for s in times]),
                "times as fast": ratios(found["1"], times),
            }
        )
    table.notes = [*workload.notes, f"{n} images; all that `run` does is counted."]
    if cores() and len(cores()) < 2:
        table.notes.append("There is one core only: two workers share it.")
    return [table]
