"""From finished cells to tables, pictures and a verdict."""
