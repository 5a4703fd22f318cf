"""Week 1: a network that reads digits, from scratch. 3Blue1Brown's videos; see README.md for the reproduction card."""
