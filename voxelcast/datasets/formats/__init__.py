"""Published data sets, one or a few files each."""
