"""Aiming a trebuchet: choose the angle of release and the counterweight so that the projectile lands on the target."""

from games.trebuchet.physics import Gradient, Shot, Trajectory, Trebuchet, shoot, shoot_with_gradient
from games.trebuchet.solver import Terms

__all__ = ["Gradient", "Shot", "Terms", "Trajectory", "Trebuchet", "shoot", "shoot_with_gradient"]
