"""What the simulated model says: texts and vectors made from the prompt's own words."""
