"""What the demo needs to run a real Flower deployment on this machine's loopback.

Not part of the protocol and trusted by nobody: certificates and node keys made here are
for a demo, are valid for days, and belong to no hospital or bank.
"""
