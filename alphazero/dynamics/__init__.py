"""Terms that equations of motion lack are learned from observations and turned into equations; and surrogates.

ude               universal differential equations: a network learns the term through the solver
equations         the network's term becomes an equation, by sparse regression
trajectories      observations, and their files
lotka_volterra    an example: predators and prey
surrogate         a network in place of a game's `step`
"""
