"""Sphinx configuration."""

import os
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from sphinx_gallery.sorting import FileNameSortKey

# Workers of an example are new processes: they must find this checkout too.
ROOT = str(Path(__file__).parent.parent)
os.environ["PYTHONPATH"] = os.pathsep.join(
    [ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
)

project = "cnn2snn-brian"
author = "The cnn2snn-brian developers"
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
