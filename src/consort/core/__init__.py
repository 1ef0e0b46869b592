"""What every layer needs: errors, names, parameters, values, progress, journals. Imports the standard library only."""
