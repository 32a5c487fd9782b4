"""Access to Weaviate: clients with deadlines, translated errors, and the features of server versions.

The store and the media store build on this; both import `weaviate` only once a client is given.
"""

from __future__ import annotations
