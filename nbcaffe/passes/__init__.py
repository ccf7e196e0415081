"""Passes: each takes a NetSpec (templates: a document) and returns a new one."""
