"""One reader for each kind of file that comes from outside, with limits; whatever is wrong is one line."""
