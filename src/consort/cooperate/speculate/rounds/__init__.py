"""A round of speculation: draft, verify, keep; its rows, costs and control."""
