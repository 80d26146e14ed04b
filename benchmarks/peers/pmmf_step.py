"""Prints the milliseconds of steps of P-MMF's dual variables as JSON: pmmf_step.py PROVIDERS STEPS

The step of its public code is the convex programme of the projection (Xu et al., P-MMF, WWW 2023, algorithm 1), which
is solved by cvxpy for each request: a constraint on every prefix of the providers in the order of their dual variables.
"""

from __future__ import annotations

import json
import sys
import time

import cvxpy
import numpy as np

providers, steps = int(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
weight, strength = rng.dirichlet(np.full(providers, 5.0)), 0.1
spent = []
for _ in range(steps + 1):
    began = time.thread_time()
    wanted = rng.normal(size=providers) * 0.1 / weight
    order = np.argsort(wanted * weight)
    rho, ordered = weight[order], wanted[order]
    dual = cvxpy.Variable(providers)
    distance = cvxpy.sum_squares(cvxpy.multiply(rho, dual) - rho * ordered)
    bounds = [cvxpy.sum(cvxpy.multiply(rho[:i], dual[:i])) >= -strength for i in range(1, providers + 1)]
    cvxpy.Problem(cvxpy.Minimize(distance), bounds).solve()
    dual.value[np.argsort(order)]
    spent.append(1000 * (time.thread_time() - began))
print(json.dumps(float(np.median(spent[1:]))))
