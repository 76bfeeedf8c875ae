"""Exports: drafts, schedules, runs and deliveries."""
