"""Week 5: grokking. Every figure of Power et al. 2022; see README.md for the reproduction card."""
