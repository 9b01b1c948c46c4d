"""One command a figure; results with the machine's description in `results/`."""
