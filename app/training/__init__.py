"""LightGCN: from the graph to trained vectors."""
