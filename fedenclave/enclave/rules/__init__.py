"""The arithmetic of the rules that are not a mean: arrays and numbers in, arrays and numbers out.

Nothing here reads a file, starts a thread, keeps state or knows what a client is. Two kinds:

  * of every coordinate, over a tile (one chunk of all K updates, as K rows): `order_statistics`.
  * of whole updates, over what every pair of them shares: `gram` adds up the K x K inner products
    tile by tile; `selection` and `geometric_median` turn them into the updates that count, or into
    coefficients for the exact sum of `fedenclave.enclave.fixed_point`. `q_fed_avg` needs the norms
    alone.

No result depends on the tiles' width or on which thread took which tile, and that of a coordinate
does not depend on the order of the updates either. Large buffers are the caller's, so that an
update's values stay on its secret pages.

SPEC.md, section 11.2. Parameters: `fedenclave.protocol.aggregation`.
"""
