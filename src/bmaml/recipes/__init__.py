"""Settings that were tuned, for sinusoids, tables and images."""
