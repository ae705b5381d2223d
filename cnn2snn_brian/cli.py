"""The command line, ``cnn2snn-brian``."""

import importlib.metadata
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

__all__ = ["app", "main"]

app = typer.Typer(
    help="Turn a trained PyTorch CNN into a spiking network in Brian2.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()


@app.callback()
def _root() -> None:
    pass


@app.command()
def train(
    architecture: Annotated[str, typer.Argument()],
    data: Annotated[str, typer.Option()],
    out: Annotated[Path, typer.Option()],
    epochs: int = 40,
    optimizer: str = "sgd",
    learning_rate: float = 0.05,
    batch_size: int = 128,
    weight_decay: float = 5e-4,
    flip: bool = False,
    shift: int = 0,
    label_smoothing: float = 0.0,
    teacher: Path | None = None,
    distillation: float = 0.9,
    temperature: float = 4.0,
    bfloat16: bool = False,
    seed: int = 0,
    resume: bool = False,
) -> None:
    from cnn2snn_brian import models
    from cnn2snn_brian.data import load_data
    from cnn2snn_brian.train import TrainingSettings, accuracy
    from cnn2snn_brian.train import train as train_cnn
    from cnn2snn_brian.weights import ModelCard, load_weights, read_card, save_weights

    module = models.create(architecture)
    training, test = load_data(data)
    taught = None
    if teacher is not None:
        taught = models.create(read_card(teacher).architecture)
        load_weights(taught, teacher)
    settings = TrainingSettings(
        epochs=epochs,
        optimizer=optimizer,
        learning_rate=learning_rate,
        batch_size=batch_size,
        weight_decay=weight_decay,
        flip=flip,
        shift=shift,
        label_smoothing=label_smoothing,
        distillation=distillation,
        temperature=temperature,
        bfloat16=bfloat16,
        seed=seed,
    )
    train_cnn(
        module,
        training,
        settings,
        teacher=taught,
        checkpoint=out.with_suffix(".checkpoint"),
        resume=resume,
    )
    share = accuracy(module, test)
    card = ModelCard(
        architecture,
        training.input_shape,
        training.classes,
        data,
        " ".join(["cnn2snn-brian", *sys.argv[1:]]),
        share,
        len(test),
        datetime.now(timezone.utc).date().isoformat(),
        {name: importlib.metadata.version(name) for name in ("torch", "numpy")},
    )
    save_weights(out, module, card)
    console.print(f"accuracy {100 * share:.2f} %")


def main() -> None:
    app()
