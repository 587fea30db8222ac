"""Image classifiers: a Vision Transformer that is adapted to classes it has never seen."""
