"""Sphinx configuration."""

import os
import re
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx_gallery.sorting import FileNameSortKey

# Workers of an example are new processes: they must find this checkout too.
ROOT = str(Path(__file__).parent.parent)
os.environ["PYTHONPATH"] = os.pathsep.join(
    [ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
)

project = "cnn2snn-brian"
author = "The cnn2snn-brian developers"
copyright = f"2026, {author}"
release = installed_version("cnn2snn-brian")
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "myst_parser",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

# Names in docstrings are links where there is such a name.
default_role = "py:obj"

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_validation_checks = set()

html_theme = "furo"
html_title = f"cnn2snn-brian {release}"

# sphinx_gallery_conf has functions in it, which Sphinx can't keep for the next build.
suppress_warnings = ["config.cache"]


def reset_brian(gallery_conf: dict[str, Any], file_name: str) -> None:
    """Give the next example Brian2 as a new process has it."""
    from brian2 import prefs, seed

    prefs.codegen.target = "auto"
    seed()


sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/\d\d_",
    "within_subsection_order": FileNameSortKey,
    "reset_modules": ("matplotlib", reset_brian),
    # Wrong results of an example are a wrong page.
    "abort_on_example_error": True,
    "reference_url": {"cnn2snn_brian": None},
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_memory": False,
}


API = (Path(__file__).parent / "api.md").read_text()
#: Names on the API page by how they are written: ``plots.plot_psth``, ``plot_psth``.
DOCUMENTED: dict[str, set[str]] = {}
for documented in re.findall(r"^   ([\w.]+)$", API, re.MULTILINE):
    home, _, last = documented.rpartition(".")
    # ``Conv2d`` alone is PyTorch's, and ``train`` alone a command.
    for written in {documented} if home in ("layers", "train") else {documented, last}:
        DOCUMENTED.setdefault(written, set()).add(documented)

#: NIR's nodes are called like neurons of this package.
OTHER_NAMES = ("nir",)


def documented_name(text: str) -> str | None:
    """Find what on the API page a text names: ``convert(...)``, ``Simulator.run``."""
    name = re.sub(r"\(.*", "", text.removeprefix("cnn2snn_brian."), flags=re.DOTALL)
    found = DOCUMENTED.get(name, set())
    kind, dot, member = name.partition(".")
    if not found and dot and kind[:1].isupper():
        found = {f"{own}.{member}" for own in DOCUMENTED.get(kind, ())}
    found = {name} & found or found
    return f"cnn2snn_brian.{found.pop()}" if len(found) == 1 else None


class LinkedNames(SphinxTransform):
    """Make links of the names of functions and classes on all pages."""

    default_priority = 400

    def apply(self, **_: Any) -> None:
        """Look at all that is set as code."""
        page = self.env.docname
        texts = () if page in OTHER_NAMES else self.document.findall(nodes.literal)
        for text in [*texts]:
            target = documented_name(text.astext())
            if target is None or isinstance(text.parent, nodes.reference):
                continue
            if isinstance(text.parent, addnodes.pending_xref):
                if text.parent["reftype"] == "obj":
                    text.parent["reftarget"] = target
                continue
            link = addnodes.pending_xref(
                refdomain="py", reftype="obj", reftarget=target, refdoc=page
            )
            text.replace_self(link)
            link += text


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.add_transform(LinkedNames)
