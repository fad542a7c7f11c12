"""The stages of a run: training, pseudo-labels, evaluation, and the store that keeps them."""
