"""What every verb that works for long shares: folder, trials, pool of members, results, save, fit, search."""
