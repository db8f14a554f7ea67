"""Hospitals train one image classifier on folders of PNG files, which lie sealed on their disks."""
