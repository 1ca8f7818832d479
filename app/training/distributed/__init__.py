"""Several processes that train one model: exact full-graph LightGCN, users split over ranks, item rows replicated."""
