"""Tests that need something outside: a key, a server."""
