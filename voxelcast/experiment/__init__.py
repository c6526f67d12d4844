"""Configuration, steps and resume: the room that wires all others."""
