"""Model-GLUE: a zoo clustered, merged and mixed."""
