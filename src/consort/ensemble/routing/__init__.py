"""What routers share: features, linear models, cost and quality."""
