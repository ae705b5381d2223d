"""The report of a reproduction, as Markdown, as HTML and as JSON."""

import re
from importlib.resources import files
from typing import Any

from cnn2snn_brian.description.presets import PRESETS
from cnn2snn_brian.files import written_whole
from cnn2snn_brian.paper import numbers as paper
from cnn2snn_brian.paper.extent import VARIANTS, VARIANTS_EFFORT
from cnn2snn_brian.paper.figures import draw
from cnn2snn_brian.paper.finite_json import to_json
from cnn2snn_brian.paper.scores import N_BOOTSTRAP
from cnn2snn_brian.paper.steps import Reproduction

__all__ = ["html_page", "markdown", "write_report"]


def _name(text: str) -> str:
    """Write a name in Markdown, where some characters mean something."""
    return re.sub(r"([\\`*_{}\[\]<>|&])", r"\\\1", text)


def _environment() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Of HTML; the text is Markdown. `_name` does the same for that.
        autoescape=False,
    )
    environment.filters["name"] = _name
    environment.filters["percent"] = lambda x, digits=1: f"{100 * x:.{digits}f}"
    environment.filters["figures"] = lambda x, digits=3: f"{x:.{digits}g}"
    environment.filters["thousands"] = lambda x: f"{x:,.0f}"
    # A class of a few images may have none that the CNN classifies correctly.
    environment.filters["over"] = lambda x, y: f"{100 * x / y:.1f}" if y else "-"
    environment.filters["signed"] = lambda x: f"{100 * x:+.1f}"
    return environment


def _template(name: str) -> str:
    path = files("cnn2snn_brian.paper") / "templates" / name
    return path.read_text(encoding="utf-8")


def markdown(numbers: dict[str, Any], figures: dict[str, str], command: str) -> str:
    """
    Write the report as Markdown.

    Parameters
    ----------
    numbers : dict
        What `collect` found.
    figures : dict of str to str
        Paths of the figures, by name.
    command : str
        The command that was given.

    Returns
    -------
    str
        The text.
    """
    template = _environment().from_string(_template("reproduction.md"))
    text: str = template.render(
        **numbers,
        figures=figures,
        paper=vars(paper),
        command=command,
        presets=PRESETS,
        n_bootstrap=N_BOOTSTRAP,
        forms=VARIANTS,
        variants_effort=VARIANTS_EFFORT,
    )
    return text


def html_page(text: str) -> str:
    """
    Make a page of the report.

    Parameters
    ----------
    text : str
        What `markdown` gave. HTML in it is shown as text.

    Returns
    -------
    str
        HTML.
    """
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return _template("page.html").replace("{{ body }}", body)


def write_report(work: Reproduction, numbers: dict[str, Any], command: str) -> None:
    """
    Write ``reproduction.json``, ``.md`` and ``.html``, and the figures.

    Parameters
    ----------
    work : Reproduction
        The experiments; the report goes to its folder.
    numbers : dict
        What `collect` found.
    command : str
        The command that was given, for the report.
    """
    text = markdown(numbers, draw(work, numbers), command)
    for suffix, content in (
        ("json", to_json(numbers)),
        ("md", text),
        ("html", html_page(text)),
    ):
        with written_whole(work.out / f"reproduction.{suffix}") as unfinished:
            unfinished.write_text(content, encoding="utf-8")
