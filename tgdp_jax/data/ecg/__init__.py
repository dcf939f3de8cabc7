"""Electrocardiograms: a simulator, readers of published databases, and the algebra of the twelve leads."""
