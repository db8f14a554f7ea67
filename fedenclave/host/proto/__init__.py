"""The gateway's gRPC service: `aggregator.proto` and what protoc made of it.

The generated files are committed, so that nobody needs a compiler to install the package; after a
change to the .proto run `make proto`.
"""
