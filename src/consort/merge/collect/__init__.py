"""Statistics of models, collected on passages for merges that need them."""
