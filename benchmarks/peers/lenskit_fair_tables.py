"""Prints LensKit's FA*IR tables as JSON, with the seconds of each: lenskit_fair_tables.py SETTINGS

SETTINGS is a JSON list of [k, p, significance].
"""

from __future__ import annotations

import json
import sys
import time

from lenskit.reranking.fair import FAIRReranker

found = []
for k, p, significance in json.loads(sys.argv[1]):
    began = time.thread_time()
    ranker = FAIRReranker(n=k, p=p, alpha=significance)
    # what `train` does before it looks up the protected items
    ranker.pmf_cache = {}
    adjusted = ranker._binary_search_significance(n=k, p=p, alpha=significance)
    table = ranker._compute_m_list(n=k, p=p, alpha=adjusted)
    found.append({"table": [int(m) for m in table], "seconds": time.thread_time() - began})
print(json.dumps(found))
