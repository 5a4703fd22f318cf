"""Week 8: how fast language models write, and what GPT-2030 may be. Steinhardt 2023; README.md is the card."""
