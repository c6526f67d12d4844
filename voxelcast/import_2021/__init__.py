"""Configurations of the 2021 repository as experiment files and profiles."""
