"""Swarms: their step, their graph, their analysis."""
