"""From a snapshot to the bipartite graph, its normalised adjacency and the initial vectors."""
