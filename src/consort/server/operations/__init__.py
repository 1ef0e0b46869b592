"""Running a server: keys and budgets, metrics, records, reload, drain."""
