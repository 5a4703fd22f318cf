"""Week 7: why the reversal curse happens. Zhu et al. 2024; see README.md for the reproduction card."""
