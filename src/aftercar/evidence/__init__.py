"""What the rules stand on: papers by key, and what they say in tables. Imports nothing of ours; everything above cites keys from here.

>>> from aftercar.evidence import table
>>> table("trials").filter(trial_id="FELIX")["crs_scale"].item()
'ASTCT 2019'
"""

from aftercar.evidence.checks import check
from aftercar.evidence.tables import table

__all__ = ["check", "table"]
