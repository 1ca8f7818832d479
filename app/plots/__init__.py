"""Pictures of a model: from arrays to points, and from points to SVG and PNG.

Points are plain values and need numpy alone; only ``graph``, ``loss`` and ``embeddings``, which draw, load matplotlib.
"""
