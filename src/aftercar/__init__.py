"""Toxicities after CAR-T cell therapy: records in, grades out.

Frames in, frames out; every function here is loaded when it is first used, so importing the package costs nothing.

>>> import aftercar
>>> aftercar.grade_timeline.__module__
'aftercar.grade.run'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from aftercar.export import export_folder, read_back
    from aftercar.grade.cite import cite
    from aftercar.grade.explain import explain
    from aftercar.grade.folder import grade_folder
    from aftercar.grade.run import Result, grade_timeline
    from aftercar.manage.advise import advise_folder, advise_timeline
    from aftercar.manage.calendar import calendar_folder, calendar_timeline, write_calendar
    from aftercar.report import write_report
    from aftercar.risk.run import score_folder, score_timeline
    from aftercar.risk.validate import validate
    from aftercar.timeline.readers import Imported, read
    from aftercar.timeline.store import import_folder, open_timeline, write_timeline

_HOMES = {
    "Imported": "aftercar.timeline.readers",
    "Result": "aftercar.grade.run",
    "advise_folder": "aftercar.manage.advise",
    "advise_timeline": "aftercar.manage.advise",
    "calendar_folder": "aftercar.manage.calendar",
    "calendar_timeline": "aftercar.manage.calendar",
    "cite": "aftercar.grade.cite",
    "explain": "aftercar.grade.explain",
    "export_folder": "aftercar.export",
    "grade_folder": "aftercar.grade.folder",
    "grade_timeline": "aftercar.grade.run",
    "import_folder": "aftercar.timeline.store",
    "open_timeline": "aftercar.timeline.store",
    "read": "aftercar.timeline.readers",
    "read_back": "aftercar.export",
    "score_folder": "aftercar.risk.run",
    "score_timeline": "aftercar.risk.run",
    "validate": "aftercar.risk.validate",
    "write_calendar": "aftercar.manage.calendar",
    "write_report": "aftercar.report",
    "write_timeline": "aftercar.timeline.store",
}

__all__ = [
    "Imported",
    "Result",
    "advise_folder",
    "advise_timeline",
    "calendar_folder",
    "calendar_timeline",
    "cite",
    "explain",
    "export_folder",
    "grade_folder",
    "grade_timeline",
    "import_folder",
    "open_timeline",
    "read",
    "read_back",
    "score_folder",
    "score_timeline",
    "validate",
    "write_calendar",
    "write_report",
    "write_timeline",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'aftercar' has no attribute {name!r}")
