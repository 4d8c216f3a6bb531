"""Announcements: what staff tell customers on top of their pages, for a time.

Owns: the texts, when and to whom they are shown, and who has put one away.  Does not own: mails, pages.
Times: shown from starts_at until before ends_at; taking one back sets its end to now.
Invariants: a text never changes once it is written; a person who has put it away does not see it again.
"""
