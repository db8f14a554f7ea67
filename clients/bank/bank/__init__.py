"""Nine banks' loans as a Flower app: who will not pay back, learnt together.

`client_app` and `server_app` are what Flower runs. Everything else is plain Python that they, the
comparison and the tests share. Importing this package imports neither torch nor matplotlib.
"""
