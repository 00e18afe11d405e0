"""What the statistics of cohorts and of published rates need beside the rest."""

from __future__ import annotations

from importlib.util import find_spec

from aftercar.errors import NotInstalled


def need_statistics() -> None:
    """
    Raises:
        NotInstalled: the libraries of the extra `statistics` are not there.
    """
    if any(find_spec(name) is None for name in ("numpy", "scipy")):
        raise NotInstalled("Statistics need the extra: pip install 'aftercar[statistics]'.")
