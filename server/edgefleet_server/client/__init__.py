"""A client of a server's API, in Python: typed answers, lists that page by themselves, problems as exceptions.

    from edgefleet_server.client import Api

    api = Api("https://fleet.example:8300", token=secret)
    for device in api.devices(region="eu-west", status="failing"):
        print(device.id, device.models[0].why)
    api.pause("eu-west", why="the line is down")

It needs Python's standard library and msgspec, and none of the server's dependencies: the server's package can be installed
for it alone (`pip install --no-deps edgefleet-server msgspec`). It is part of that package, and no distribution of its own,
because its types are what the server's description is made from: the two can not drift apart.
"""

from .api import Api
from .errors import ApiError, BadRequest, Conflict, Denied, Failed, NoServer, NotThere

__all__ = ["Api", "ApiError", "BadRequest", "Conflict", "Denied", "Failed", "NoServer", "NotThere"]
