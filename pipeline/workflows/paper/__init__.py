"""The paper's tables and figures: what it prints, and the experiments that make them again."""
