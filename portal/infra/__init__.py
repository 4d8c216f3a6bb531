"""What every capability stands on: transactions, jobs, logs, audit and page tools.

Owns: how a transaction takes its role and commits, how work gets to a worker, who did what.
Does not own: anything about billing.
Invariants: Postgres is the truth and Redis only carries wake-ups; nothing is sent before its row is committed.
"""
