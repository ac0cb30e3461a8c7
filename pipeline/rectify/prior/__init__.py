"""The class prior that a rectifier's probabilities stand for, and how another takes its place."""
