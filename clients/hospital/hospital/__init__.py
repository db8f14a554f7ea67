"""Fed-Heart-Disease as a Flower app: four hospitals, one logistic regression.

`client_app` and `server_app` are what Flower runs. Everything else is plain Python that they,
the baselines and the tests share. Importing this package imports neither torch nor matplotlib.
"""
