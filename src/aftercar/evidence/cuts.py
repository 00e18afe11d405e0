"""Cuts of papers that a scale and a risk score share."""

ALC_WATCH = 3.0  # 10^9/L; above this peak of lymphocytes delayed neurotoxicity is ten times as frequent [ash2025_5953]
