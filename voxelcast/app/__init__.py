"""The local page over the results of many experiments: reads output folders, changes nothing."""
