"""The front doors in the manner of scikit-learn: a regressor for tables and a classifier for images."""
