"""The options of every stage: one frozen dataclass each."""
