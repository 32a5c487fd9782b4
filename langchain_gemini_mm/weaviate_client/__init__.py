"""How we talk to Weaviate: clients with deadlines, our errors, what a server's version can do.

The store and the media store build on this; both import `weaviate` only once a client is given.
"""

from __future__ import annotations
