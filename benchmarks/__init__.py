"""Speed, shown by running both sides in one run."""
