"""What a person looks at: plots and contact sheets."""
