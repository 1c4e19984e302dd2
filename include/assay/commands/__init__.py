"""The `assay` command's sub-commands: argument parsing and printing, no logic of their own."""
