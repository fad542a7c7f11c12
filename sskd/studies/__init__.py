"""Declarations of experiments, the ledger of their cells, and the view of them in MLflow."""
