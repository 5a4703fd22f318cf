"""Week 6: the reversal curse. Berglund et al. 2023, experiments 1 to 3; README.md is the reproduction card."""
