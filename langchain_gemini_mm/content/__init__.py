"""User input of every kind, turned into frozen parts."""
