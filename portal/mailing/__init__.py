"""Mails: telling the people of an organization what happened to their invoices.

Owns: mails and their states, who gets them, reminders, each member's choice.  Does not own: any figure or state of an
invoice (invoicing, payments); how a message reaches a server (infra.mail).
Times: created_at = when it was written; sent_at = when the server took it.
Invariants: each mail is written once (organization and dedupe key); whom it goes to is decided when it is sent, never
before; what is no longer true by then is not sent; a mail that was sent is not sent again, except that a worker which
dies between the server's answer and our commit sends it a second time under the same Message-ID.
"""
