"""Prints the FA*IR tables of fairsearchcore as JSON, with the seconds of each: fairsearch_tables.py SETTINGS LIMIT

SETTINGS is a JSON list of [k, p, significance]; a table is null where an error is raised or LIMIT seconds pass.
"""

import json
import signal
import sys
import time
import warnings

import fairsearchcore

warnings.simplefilter("ignore")


def stop(number, frame):
    raise TimeoutError(f"not ready after {sys.argv[2]} s")


signal.signal(signal.SIGVTALRM, stop)
found = []
for k, p, significance in json.loads(sys.argv[1]):
    began, table, error = time.process_time(), None, ""
    signal.setitimer(signal.ITIMER_VIRTUAL, float(sys.argv[2]))
    try:
        table = fairsearchcore.Fair(k, p, significance).create_adjusted_mtable()
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    found.append({"table": table, "seconds": time.process_time() - began, "error": error})
print(json.dumps(found))
