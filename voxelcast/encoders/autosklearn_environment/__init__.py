"""The environment in which auto-sklearn runs: its pinned packages, how it is made, and what runs inside."""
