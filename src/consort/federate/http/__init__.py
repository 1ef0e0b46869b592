"""Clients and server over HTTP: safetensors bodies in parts, tokens, caps on everything."""
