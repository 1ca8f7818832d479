"""Gorse's REST API, one module for each kind of thing; ``HOT`` are the routes that come first of all."""

from app.api.routers.gorse import feedback, health, items, neighbours, recommend, users

HOT = recommend.hot.routes
ROUTES = [
    route
    for router in (recommend.router, feedback.router, neighbours.router, items.router, users.router, health.router)
    for route in router.routes
]
