"""Ask hardware vendors for collateral, when a user with a network wants it. Nothing else goes out.

What is fetched is not judged here: vendors sign it, and `fedenclave.attestation` verifies it, each
time and offline, against roots that are pinned.
"""
