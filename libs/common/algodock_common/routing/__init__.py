"""Routing: where an algorithm can be called, shared by the gateway and the runner's worker."""

from algodock_common.routing.feed import ROUTER_KEY, RoutingFeed
from algodock_common.routing.table import Instance, Route, RouteSnapshot, RoutingTable

__all__ = ["ROUTER_KEY", "Instance", "Route", "RouteSnapshot", "RoutingFeed", "RoutingTable"]
