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
    from aftercar.manage.rehearse import rehearse_folder, rehearse_timeline
    from aftercar.report import write_report
    from aftercar.risk.run import score_folder, score_timeline
    from aftercar.risk.validate import validate
    from aftercar.simulate.model import load_model
    from aftercar.simulate.run import Scenario, simulate_folder
    from aftercar.simulate.run import simulate as simulate_patients
    from aftercar.timeline.readers import Imported, read
    from aftercar.timeline.store import import_folder, open_timeline, write_timeline
    from aftercar.trial.read import read_design
    from aftercar.trial.run import run_trial

# Where each lives, and after a colon what it is called there if not the same.
_HOMES = {
    "Imported": "aftercar.timeline.readers",
    "Result": "aftercar.grade.run",
    "Scenario": "aftercar.simulate.run",
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
    "load_model": "aftercar.simulate.model",
    "open_timeline": "aftercar.timeline.store",
    "read": "aftercar.timeline.readers",
    "read_back": "aftercar.export",
    "read_design": "aftercar.trial.read",
    "rehearse_folder": "aftercar.manage.rehearse",
    "rehearse_timeline": "aftercar.manage.rehearse",
    "run_trial": "aftercar.trial.run",
    "score_folder": "aftercar.risk.run",
    "score_timeline": "aftercar.risk.run",
    "simulate_folder": "aftercar.simulate.run",
    "simulate_patients": "aftercar.simulate.run:simulate",
    "validate": "aftercar.risk.validate",
    "write_calendar": "aftercar.manage.calendar",
    "write_report": "aftercar.report",
    "write_timeline": "aftercar.timeline.store",
}

__all__ = [
    "Imported",
    "Result",
    "Scenario",
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
    "load_model",
    "open_timeline",
    "read",
    "read_back",
    "read_design",
    "rehearse_folder",
    "rehearse_timeline",
    "run_trial",
    "score_folder",
    "score_timeline",
    "simulate_folder",
    "simulate_patients",
    "validate",
    "write_calendar",
    "write_report",
    "write_timeline",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, _, own = _HOMES[name].partition(":")
        return getattr(importlib.import_module(module), own or name)
    raise AttributeError(f"module 'aftercar' has no attribute {name!r}")
