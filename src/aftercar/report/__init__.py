"""The report: cohort tables and a figure for each subject, in one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

from aftercar.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]
