"""The database: one file per noun. Nothing outside this folder writes SQL."""
