"""What the calls of a client have in common."""

from service.client.transport import Transport


class Calls:
    """Calls of one subject. Raise as `Client` says."""

    def __init__(self, transport: Transport):
        self._transport = transport
