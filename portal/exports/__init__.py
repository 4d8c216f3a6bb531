"""Exports: an organization's usage, events and charges as files, at once if they are small, else made by a worker.

Owns: what is asked for, the pieces of a file, how far it is, and its bytes until they expire.  Does not own: a figure;
all come from the rollups and events (usage) and from frozen documents (invoicing).
Times: created_at = asked for; finished_at = whole, failed or cancelled; expires_at = when its bytes are deleted.
Invariants: a piece is stored once, with the place where the next one begins, in one transaction; so an export whose
worker died goes on where it was. Everything is read as the tenant, under row level security.
The bytes are in the database, compressed: web and workers run on many machines that share nothing else, a download is
guarded like every other row, and a restored backup has no row without its file.
"""
