"""Histories that are reworked: redone, put behind another, taken over from another tool."""
