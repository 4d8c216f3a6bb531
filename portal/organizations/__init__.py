"""Organizations: who pays and who may see.

Owns: organizations, users, memberships, invitations, sessions, API keys, the table of roles and permissions, limits on
guessing, second factors, and which mails about accounts are to be sent (mailing writes them).
Does not own: what an organization used or owes.
Times: created_at = when the record came to be; last_seen_at, last_used_at = to the minute, for people.
Invariants: one currency per organization for ever; a secret (password, session, key) is kept only as a hash, and one
that must be read again (of a second factor) sealed; somebody else's id is answered as one that does not exist.
"""
