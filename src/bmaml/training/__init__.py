"""The one training loop: methods, meta-steps, plans, optimisers and runs."""
