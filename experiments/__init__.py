"""The paper's claims and its open questions, as experiments on real data (README.md)."""
