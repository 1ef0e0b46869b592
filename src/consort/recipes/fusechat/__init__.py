"""Knowledge fusion by a plan, stage by stage."""
