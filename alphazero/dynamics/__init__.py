"""What a model of motion lacks is learned from observations, and written down as an equation."""
