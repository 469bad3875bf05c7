"""HTTP in: the raw inlets that stream (``/ai``, ``/git``, webhook, heartbeat), and the API beside them."""
