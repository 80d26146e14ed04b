"""Prints the Cressie-Read intervals of vw-estimators on logs in an NPZ file, as JSON by log: [low, high].

vw_intervals.py FILE

The file holds LOG/weight, LOG/reward and LOG/range (smallest and largest weight) of each log. The sums that the package
keeps of a log are set at once, since adding 10^7 examples one by one takes an hour.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from estimators.bandits import cressieread

stored = np.load(sys.argv[1])
found = {}
for log in sorted({name.partition("/")[0] for name in stored.files}):
    weight, reward = stored[f"{log}/weight"], stored[f"{log}/reward"]
    least, most = stored[f"{log}/range"].tolist()
    interval = cressieread.Interval(wmin=least, wmax=most, rmin=0, rmax=1)
    sums = {"n": np.ones_like(weight), "sumw": weight, "sumwsq": weight**2, "sumwr": weight * reward}
    sums |= {"sumwsqr": weight**2 * reward, "sumwsqrsq": weight**2 * reward**2}
    for name, values in sums.items():
        setattr(interval._impl, name, float(values.sum()))
    found[log] = [float(bound) for bound in interval.get(alpha=0.05)]
print(json.dumps(found))
