"""Any token model as a model of bytes: the exact marginal over its tokens."""
