"""Revision files: what they require, their imports, all of them or none."""
