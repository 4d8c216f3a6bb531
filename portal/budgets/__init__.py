"""Budgets: a customer says what a month may cost, and is told before and when it costs more. They stop nothing."""
