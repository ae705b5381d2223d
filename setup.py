"""All metadata is in setup.cfg, but for the description."""

import re
from pathlib import Path

from setuptools import setup

readme = Path("README.md").read_text(encoding="utf-8")
# Their paths are relative: a package index can't show them.
pictures = r"!\[[^]]*\]\([^)]*\)\s*"

setup(long_description=re.sub(pictures, "", readme))
