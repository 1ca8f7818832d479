"""LightGCN: from the graph to trained vectors."""

import os

# Before torch loads its OpenMP: threads that spin while they wait cost five times the time on a machine that has other
# work, and gain little on an idle one.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
