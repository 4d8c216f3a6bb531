"""The real servers a laptop needs: PostgreSQL, Redis, the demo of the whole portal, and the test databases.

Owns: starting, watching and stopping processes; data folders; the environment the portal is given.
Does not own: anything the portal does. It drives the portal by its commands and over HTTP; it imports
nothing of it.
Invariants: nothing embedded starts when DATABASE_URL and REDIS_URL are set; only processes that were started
here are ever ended; no permission of a user's folder is changed.
"""
