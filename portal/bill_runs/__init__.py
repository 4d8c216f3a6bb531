"""Bill runs: the month of all organizations, from drafts to a closed book, resumable at any instant.

Owns: which organizations a run covers, its stages, flags, approvals, progress, and the report at its end.
Does not own: figures (invoicing.drafting), what finalizing does (invoicing.finalizing), sending (payments).
Times: as_of = when the run started, which decides whom it covers; an invoice is dated when it becomes final.
Invariants: one run per month and kind (a unique constraint decides); a stage is what the rows say, so whoever is
killed goes on from there; one bad organization never stops the others; what is final is never taken back.
"""
