"""Conversion of user input into frozen parts."""
