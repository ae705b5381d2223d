"""
What has to hold on other Pythons than that of `.ci/run`: `nox -s tests-3.13`.

A Python that is not on the machine is skipped.
"""

from configparser import ConfigParser

import nox

nox.options.error_on_missing_interpreters = False

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the demo, and all tests or what is given after `--`."""
    session.install(".[test]")
    figure = f"{session.create_tmp()}/digit.png"
    session.run("cnn2snn-brian", "demo", "--figure", figure)
    session.run("pytest", *(session.posargs or ["-n", "2", "--dist", "worksteal"]))


@nox.session(python=PYTHONS)
def extras(session: nox.Session) -> None:
    """Look whether pip finds all that each extra requires; install nothing."""
    config = ConfigParser()
    config.read("setup.cfg", encoding="utf-8")
    for extra in config["options.extras_require"]:
        session.run("pip", "install", "--quiet", "--dry-run", f".[{extra}]")
