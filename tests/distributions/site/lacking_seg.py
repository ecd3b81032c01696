"""Imports a package that nobody installed."""

import package_that_nobody_installed  # noqa: F401
