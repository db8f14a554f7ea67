"""A Flower app in quickstart form, made confidential by two lines."""
